from __future__ import annotations

import json

import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import model_limit
from benchmarks.run_all import COLUMNS


def test_parts_are_timed_and_their_operations_counted(capsys, monkeypatch):
    monkeypatch.setattr(model_limit, "SIDE", 64)
    small = ["--backbone", "swin_t", "--size", "64", "--queries", "5", "--masks", "3", "--runs", "1"]
    assert model_limit.main(small) == 0
    *table, last = capsys.readouterr().out.strip().splitlines()
    assert [row.split(" | ")[0].removeprefix("| ") for row in table[3:]] == [
        "backbone",
        "pixel decoder",
        "mask decoder",
        "matching and losses",
        "all",
    ]
    row = json.loads(last)
    assert tuple(row) == COLUMNS and row["value"] > 0 and row["reference"] > 0


def test_operations_are_those_of_the_products():
    query, total = torch.randn(1, 2, 10, 4, requires_grad=True), torch.zeros(3, 7)
    with FlopCounterMode(display=False, custom_mapping=model_limit.on_cpu()) as counter:
        seen = functional.scaled_dot_product_attention(query, query, query)
        total.addmm_(torch.ones(3, 5), torch.ones(5, 7))
    product = 2 * 2 * 10 * 10 * 4  # of both heads
    assert counter.get_total_flops() == 2 * product + 2 * 3 * 5 * 7
    with FlopCounterMode(display=False, custom_mapping=model_limit.on_cpu()) as counter:
        seen.sum().backward()
    assert counter.get_total_flops() == 5 * product  # the scores once more, and two of each product's gradients
