import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dico.affinity import binary_affinity


def unit_features(num_nodes, channels=5, seed=0):
    feats_NC = np.random.default_rng(seed).standard_normal((num_nodes, channels)).astype(np.float32)
    return feats_NC / np.linalg.norm(feats_NC, axis=1, keepdims=True)


@given(st.integers(1, 70), st.integers(0, 1000), st.sampled_from([-1.0, 0.0, 0.15, 0.9]))
def test_product_equals_the_dense_one(num_nodes, seed, tau):
    feats_NC = unit_features(num_nodes, seed=seed)
    dense_NN = np.where(feats_NC @ feats_NC.T > np.float32(tau), 1.0, 1e-5)
    x_N = np.random.default_rng(seed).standard_normal(num_nodes)
    affinity = binary_affinity(feats_NC, tau=tau, eps=1e-5)
    assert affinity.num_nodes == num_nodes
    assert affinity.product(x_N) == pytest.approx(dense_NN @ x_N, abs=1e-12)


@pytest.mark.parametrize("num_nodes", [255, 256, 257, 520, 777])
def test_tiles_meet(num_nodes):
    feats_NC = unit_features(num_nodes)
    alike_NN = feats_NC @ feats_NC.T > np.float32(0.2)
    bits_gN = binary_affinity(feats_NC, tau=0.2, eps=0.1).bits_gN
    unpacked_NN = np.unpackbits(bits_gN, axis=0, bitorder="little")
    assert np.array_equal(unpacked_NN[:num_nodes], alike_NN)
    assert not unpacked_NN[num_nodes:].any()


def test_affinity_is_symmetric():
    bits_gN = binary_affinity(unit_features(600, channels=64), tau=0.0, eps=0.1).bits_gN
    alike_NN = np.unpackbits(bits_gN, axis=0, bitorder="little")[:600]
    assert np.array_equal(alike_NN, alike_NN.T)
