import ast
import dataclasses
import inspect
import itertools
import operator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dico.config import Linkage, PipelineConfig, RefineConfig, load_config
from dico.config_loading import from_mapping


def sections_of(config, prefix=()):
    """The dotted names of all sections, those within sections included."""
    for entry in dataclasses.fields(config):
        section = getattr(config, entry.name)
        if dataclasses.is_dataclass(section):
            yield ".".join((*prefix, entry.name))
            yield from sections_of(section, (*prefix, entry.name))


def replace_section(config, section, part):
    """The configuration with another section under a dotted name."""
    name, _, rest = section.partition(".")
    return dataclasses.replace(config, **{name: replace_section(getattr(config, name), rest, part) if rest else part})


SECTIONS = list(sections_of(PipelineConfig()))


def test_without_arguments_the_defaults():
    assert load_config() == PipelineConfig()


def test_a_file_changes_what_it_names_alone(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("divide:\n  tau: 0.2\nseed: 5\n")
    config = load_config(file)
    assert (config.divide.tau, config.seed) == (0.2, 5)
    assert dataclasses.replace(config, divide=PipelineConfig().divide, seed=0) == PipelineConfig()


def test_overrides_win_over_the_file_and_later_ones_over_earlier(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("divide: {tau: 0.2, max_masks: 7}\n")
    config = load_config(str(file), ["divide.tau=0.3", "divide.tau=0.4"])
    assert (config.divide.tau, config.divide.max_masks) == (0.4, 7)


def test_override_values_are_read_as_yaml():
    config = load_config(
        overrides=[
            "conquer.thetas=[0.5, 0.25]",
            "conquer.parts=true",
            "extractor.weights=a=b",
            "divide.eps=1.0e-3",
        ]
    )
    assert config.conquer.thetas == (0.5, 0.25)
    assert config.conquer.parts is True
    assert config.extractor.weights == "a=b"
    assert config.divide.eps == 1e-3


@pytest.mark.parametrize(("text", "value"), [("1e-4", 1e-4), ("2E3", 2e3), ("+1.5e+2", 150.0), ("1.0e-4", 1e-4)])
def test_a_power_of_ten_is_a_number_however_it_is_written(text, value):
    assert load_config(overrides=[f"refine.guided_eps={text}"]).refine.guided_eps == value


def test_an_integer_is_a_number():
    assert load_config(overrides=["refine.gaussian_sxy=4"]).refine.gaussian_sxy == 4.0
    assert (
        load_config(overrides=["refine.gaussian_sxy=4"]).hash()
        == load_config(overrides=["refine.gaussian_sxy=4.0"]).hash()
    )


def test_an_empty_file_is_no_difference(tmp_path):
    file = tmp_path / "empty.yaml"
    file.write_text("# nothing\n")
    assert load_config(file) == PipelineConfig()


@pytest.mark.parametrize(
    ("overrides", "error", "text"),
    [
        (["divide.tua=0.2"], KeyError, "unknown configuration key 'divide.tua'; did you mean divide.tau?"),
        (["refin.method=crf"], KeyError, "unknown configuration key 'refin'; did you mean refine?"),
        (["qqq=1"], KeyError, "unknown configuration key 'qqq'; choose from conquer, divide, extractor, image"),
        (["seed.x=1"], TypeError, "seed must be of type int, got {'x': 1}"),
        (["seed=1", "seed.x=2"], KeyError, "unknown configuration key 'seed.x': 'seed' is not a section"),
        (["divide.tau"], ValueError, "an override must be section.key=value, got 'divide.tau'"),
        (["=3"], ValueError, "an override must be section.key=value, got '=3'"),
        (["divide=3"], TypeError, "divide must be a section of keys, got 3"),
        (["divide.tau=high"], TypeError, "divide.tau must be of type float, got 'high'"),
        (["divide.max_masks=1.5"], TypeError, "divide.max_masks must be of type int, got 1.5"),
        (["divide.max_masks=true"], TypeError, "divide.max_masks must be of type int, got True"),
        (["divide.tau=true"], TypeError, "divide.tau must be of type float, got True"),
        (["divide.tau="], TypeError, "divide.tau must be of type float, got None"),
        (["conquer.parts=1"], TypeError, "conquer.parts must be of type bool, got 1"),
        (["conquer.thetas=0.5"], TypeError, "conquer.thetas must be a list, got 0.5"),
        (["conquer.thetas=[0.5, low]"], TypeError, "conquer.thetas must be of type float, got 'low'"),
        (["extractor.name=7"], TypeError, "extractor.name must be of type str, got 7"),
    ],
)
def test_mistakes_in_overrides(overrides, error, text):
    with pytest.raises(error) as raised:
        load_config(overrides=overrides)
    assert text in str(raised.value.args[0])


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("image.max_pixels=0", "image.max_pixels must be at least 1, got 0"),
        ("extractor.name=resnet", "extractor.name must be one of classical, dino, dinov2, dinov3, got 'resnet'"),
        ("extractor.facet=keys", "extractor.facet must be one of key, query, value, token, got 'keys'"),
        ("extractor.dtype=int8", "extractor.dtype must be one of float32, bfloat16, float16, got 'int8'"),
        ("extractor.size=0", "extractor.size must be at least 1, got 0"),
        ("divide.max_masks=-1", "divide.max_masks must be at least 0, got -1"),
        ("divide.tau=1.5", r"divide.tau must be within [-1, 1], got 1.5"),
        ("divide.eps=0", r"divide.eps must be within (0, 1), got 0.0"),
        ("divide.min_area_frac=1", "divide.min_area_frac must be within [0, 1), got 1.0"),
        ("conquer.min_inside=2", "conquer.min_inside must be within [0, 1], got 2.0"),
        ("conquer.max_iou=2", "conquer.max_iou must be within [0, 1], got 2.0"),
        ("refine.gaussian_sxy=0", "refine.gaussian_sxy must be finite and above 0, got 0.0"),
        ("refine.bilateral_sxy=.nan", "refine.bilateral_sxy must be finite and above 0, got nan"),
        ("refine.bilateral_srgb=0", "refine.bilateral_srgb must be finite and above 0, got 0.0"),
        ("refine.gaussian_compat=-1", "refine.gaussian_compat must be finite and at least 0, got -1.0"),
        ("refine.bilateral_compat=.inf", "refine.bilateral_compat must be finite and at least 0, got inf"),
        ("refine.min_iou=5", "refine.min_iou must be within [0, 1], got 5.0"),
        ("refine.max_area_frac=0", "refine.max_area_frac must be within (0, 1], got 0.0"),
        ("select.min_inside_parent=0", "select.min_inside_parent must be within (0, 1], got 0.0"),
        ("conquer.thetas=[0.2, 0.5]", r"conquer.thetas must be falling in [0, 1], got (0.2, 0.5)"),
        ("conquer.thetas=[0.5, 0.5]", "conquer.thetas must be falling"),
        ("conquer.thetas=[1.5]", "conquer.thetas must be falling"),
        ("conquer.linkage.feature_weight=-1", "conquer.linkage.feature_weight must be finite and at least 0, got -1.0"),
        (
            "conquer.linkage.boundary_weight=.nan",
            "conquer.linkage.boundary_weight must be finite and at least 0, got nan",
        ),
        ("conquer.linkage.size_power=.inf", "conquer.linkage.size_power must be finite and at least 0, got inf"),
        ("conquer.crop_size=0", "conquer.crop_size must be at least 1, got 0"),
        ("conquer.min_patches=0", "conquer.min_patches must be at least 1, got 0"),
        ("refine.method=cascade", "refine.method must be one of crf, guided, none, got 'cascade'"),
        ("refine.iterations=0", "refine.iterations must be at least 1, got 0"),
        ("refine.unary_weight=0", "refine.unary_weight must be above 0, got 0.0"),
        ("refine.guided_radius=0", "refine.guided_radius must be at least 1, got 0"),
        ("refine.guided_eps=-1", "refine.guided_eps must be above 0, got -1.0"),
        ("refine.max_side=8", "refine.max_side must be at least 16, got 8"),
        ("select.max_masks=0", "select.max_masks must be at least 1, got 0"),
        ("select.max_iou=0", r"select.max_iou must be within (0, 1], got 0.0"),
        ("select.min_area_px=-1", "select.min_area_px must be at least 0, got -1"),
    ],
)
def test_values_out_of_range(override, text):
    with pytest.raises(ValueError) as raised:
        load_config(overrides=[override])
    assert text in str(raised.value)


def test_a_file_that_does_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.yaml"):
        load_config(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("content", "text"),
    [("- a\n- b\n", "must hold a mapping of sections, got list"), ("a: [1\n", "is not valid YAML")],
)
def test_a_file_that_is_no_configuration(tmp_path, content, text):
    file = tmp_path / "bad.yaml"
    file.write_text(content)
    with pytest.raises(ValueError, match=f"bad.yaml {text}"):
        load_config(file)


def test_a_key_of_a_file_is_checked_too(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("select: {max_mask: 3}\n")
    with pytest.raises(KeyError, match=r"'select\.max_mask'; did you mean select\.max_masks\?"):
        load_config(file)


def test_the_dictionary_round_trips():
    config = load_config(overrides=["conquer.thetas=[0.9, 0.1]", "refine.method=guided", "seed=3"])
    assert from_mapping(PipelineConfig, config.to_dict()) == config


@pytest.mark.parametrize("section", SECTIONS)
def test_the_hash_changes_with_every_value(section):
    base = PipelineConfig()
    changed = {
        "method": "none",
        "name": "dino",
        "facet": "value",
        "dtype": "float16",
        "thetas": (0.5,),
        "tau": 0.7,
        "whole_image": "none",
        "linkages": (Linkage(),),
    }
    part = operator.attrgetter(section)(base)
    for entry in dataclasses.fields(part):
        old = getattr(part, entry.name)
        if dataclasses.is_dataclass(old):
            continue  # a section of its own
        if entry.name in changed:
            new = changed[entry.name]
        elif isinstance(old, bool):
            new = not old
        else:
            new = old + "x" if isinstance(old, str) else old + 1 if isinstance(old, int) else old / 2 or 0.5
        other = replace_section(base, section, dataclasses.replace(part, **{entry.name: new}))
        assert other.hash() != base.hash(), f"{section}.{entry.name}"


def test_the_hash_is_short_and_the_same_every_time():
    assert PipelineConfig().hash() == PipelineConfig().hash()
    assert len(PipelineConfig().hash()) == 12
    assert int(PipelineConfig().hash(), 16) >= 0
    assert PipelineConfig(seed=1).hash() != PipelineConfig().hash()


@given(st.integers(1, 10**9), st.floats(-1, 1, allow_subnormal=False))
def test_every_value_survives_text(max_masks, tau):
    config = load_config(overrides=[f"select.max_masks={max_masks}", f"divide.tau={tau:.17f}"])
    assert config.select.max_masks == max_masks
    assert config.divide.tau == pytest.approx(tau, abs=1e-16)


def test_configurations_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RefineConfig().method = "none"


@pytest.mark.parametrize("section", SECTIONS)
def test_every_field_is_documented(section):
    """A string follows each field in the source; without it nobody knows the unit."""
    cls = type(operator.attrgetter(section)(PipelineConfig()))
    body = ast.parse(inspect.getsource(cls)).body[0].body
    for node, after in itertools.pairwise(body):
        if isinstance(node, ast.AnnAssign):
            assert isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant), node.target.id


def test_any_dataclass_can_be_filled_from_a_mapping():
    @dataclass(frozen=True)
    class Inner:
        sides: tuple[int, ...] = (1,)

    # get_type_hints looks names up in the module, where a local class is not.
    outer = dataclasses.make_dataclass("Outer", [("inner", Inner, field(default_factory=Inner)), ("on", bool, False)])
    assert from_mapping(outer, {"inner": {"sides": [3, 4]}, "on": True}) == outer(Inner((3, 4)), True)
    with pytest.raises(KeyError, match=r"'inner\.side'; did you mean inner\.sides\?"):
        from_mapping(outer, {"inner": {"side": []}})
