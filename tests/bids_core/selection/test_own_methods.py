"""Selection methods that are not ours: found, checked, tried, and known by their content."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from bids_core.errors import ConfigError, MatrixError, MethodError
from bids_core.selection import METHODS, NO_COLUMN, Picks, select, selection_method
from bids_core.selection.methods import _entry_points, require_methods

TEMPLATE = Path(__file__).parents[3] / "examples" / "own_method" / "methods.py"
VALUES = np.random.default_rng(0).standard_normal((20, 4))


@pytest.fixture
def method_file(tmp_path):
    def _write(body, *, above=""):
        path = tmp_path / "mine.py"
        head = "import numpy as np\nfrom bids_core.selection import Picks, selection_method\n"
        path.write_text(f"{head}{above}\ndef pick(request):\n    {body}\n")
        return f"{path}:pick"

    return _write


def test_the_template_picks_what_its_docstring_says():
    found = select(VALUES, 5, method=f"{TEMPLATE}:top_mean", normalization="none")
    scores = np.sort(VALUES, axis=1)[:, -3:].mean(axis=1)
    assert found.indices.tolist() == np.argsort(-scores)[:5].tolist()
    np.testing.assert_allclose(found.utilities, scores[found.indices])
    assert found.winning_columns.tolist() == VALUES[found.indices].argmax(axis=1).tolist()
    assert (found.method, found.normalization) == ("top_mean", "none")


def test_row_numbers_alone_do(method_file):
    found = select(VALUES, 3, method=method_file("return [5, 0, 7]"))
    assert found.indices.tolist() == [5, 0, 7]
    assert found.indices.dtype == np.int64
    assert found.utilities.tolist() == [0.0] * 3
    assert found.winning_columns.tolist() == [NO_COLUMN] * 3


def test_a_function_at_hand_does():
    def mine(request):
        return np.arange(request.budget)[::-1]

    found = select(VALUES, 3, method=mine)
    assert (found.method, found.indices.tolist()) == ("mine", [2, 1, 0])


def test_it_gets_the_normalisation_and_the_seed_and_what_it_asks_for(method_file):
    spec = method_file("return [request.seed]")
    assert select(VALUES, 1, method=spec, seed=7, normalization="rank").normalization == "rank"
    assert select(VALUES, 1, method=spec, seed=7).indices.tolist() == [7]
    spec = method_file("return [len(request.need_texts()[0])]")
    with pytest.raises(MatrixError, match="method 'pick' needs `texts`"):
        select(VALUES, 1, method=spec)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return [1]", "returned 1 instead of 3 rows"),
        ("return list(range(4))", "returned 4 instead of 3 rows"),
        ("return [1, 2, 1]", "returned row 1 2 times"),
        ("return [1, 2, 20]", "returned row 20; the pool has rows 0 to 19"),
        ("return [1, 2, -1]", "returned row -1"),
        ("return None", "returned NoneType; return Picks, or the row numbers"),
        ("return 'abc'", "returned str"),
        ("return {1, 2, 3}", "returned set"),
        ("return [[1], [2, 3]]", "returned list"),
        ("return [1.0, 2.0, 3.0]", "returned float64 of shape"),
        ("return np.eye(3, dtype=int)", "returned int64 of shape"),
        ("return Picks(np.arange(3), np.full(3, np.nan), None)", "not 3 finite numbers"),
        ("return Picks(np.arange(3), np.zeros(2), None)", "not 3 finite numbers"),
        ("return Picks(np.arange(3), ['a', 'b', 'c'], None)", "utilities that are not numbers"),
        ("return Picks(np.arange(3), np.zeros(3), np.full(3, 4))", "from 0 to 3, or -1 for none"),
        ("return 1 / 0", r"raised ZeroDivisionError: division by zero \(.*mine.py:5\)"),
        ("raise ValueError('one\\ntwo')", "raised ValueError: one two"),
        ("return np.zeros(3)[9]", "mine.py:5"),
        ("raise SystemExit(3)", "raised SystemExit: 3"),
        ("request.matrix.values[0] = 9", "raised ValueError: assignment destination is read-only"),
    ],
)
def test_what_is_not_a_selection_is_refused_in_one_line(method_file, body, message):
    with pytest.raises(MethodError, match=message) as caught:
        select(VALUES, 3, method=method_file(body))
    assert "\n" not in str(caught.value)
    assert "selection method 'pick'" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/no/such/file.py:pick", "cannot be imported.*FileNotFoundError"),
        ("no_such_package.methods:pick", "cannot be imported.*ModuleNotFoundError"),
        ("json:no_such_function", "cannot be imported: json has no 'no_such_function'"),
        ("methods.py", "name the function that selects, as in methods.py:function"),
        ("json:dumps.x", "write package.module:function or methods.py:function"),
        ("json:__name__", "cannot be called with"),
        ("no_such_method", "unknown selection method 'no_such_method'"),
    ],
)
def test_a_method_that_is_not_there_is_known_at_once(name, message):
    with pytest.raises(ConfigError, match=message) as caught:
        require_methods(["bids", name])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["def pick(request:\n", "import sys\nsys.exit(3)\n", "1 / 0\n"])
def test_a_file_that_can_not_be_run_is_one_line(tmp_path, content):
    (tmp_path / "broken.py").write_text(content)
    with pytest.raises(ConfigError, match=r"broken.py:pick' cannot be imported"):
        require_methods([f"{tmp_path}/broken.py:pick"])


def test_a_method_is_known_by_its_content_not_by_its_place(method_file, tmp_path):
    spec = method_file("return [1, 2, 3]")
    first = METHODS[spec].identity
    assert METHODS[spec].identity == first
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "renamed.py").write_text((tmp_path / "mine.py").read_text())
    assert METHODS[f"{other}/renamed.py:pick"].identity == first
    assert METHODS[method_file("return [1, 2, 4]")].identity != first
    assert METHODS["less"].identity == {"method": "less"}


def test_what_a_file_may_hold(method_file):
    """Dataclasses with postponed annotations look their module up while it runs."""
    above = "from dataclasses import dataclass\n\n@dataclass\nclass State:\n    total: 'int'\n"
    spec = method_file("return [State(4).total]", above=above)
    assert select(VALUES, 1, method=spec).indices.tolist() == [4]


def test_what_it_declares_is_taken_but_for_what_a_cache_would_trust(method_file):
    declared = "@selection_method(needs='texts', label='Mine', colour='blue', trial=False)"
    method = METHODS[method_file("return [0]", above=declared)]
    assert (method.needs, method.label, method.colour, method.trial) == (
        "texts", "Mine", "blue", False,
    )  # fmt: skip
    assert method.seeded
    assert not method.normalized
    with pytest.raises(ValueError, match="did you mean texts"):
        selection_method(needs="text")


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Install a package that adds methods, as pip would."""

    def _install(points, name="plug"):
        folder = tmp_path / name
        info = folder / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[bids.selection_methods]\n{points}\n")
        (folder / f"{name}_methods.py").write_text(
            "def last(request):\n    return list(range(request.n_rows))[-request.budget:]\n"
        )
        monkeypatch.syspath_prepend(folder)
        _entry_points.cache_clear()

    yield _install
    _entry_points.cache_clear()
    sys.modules.pop("plug_methods", None)


def test_an_installed_package_adds_methods_by_name(package):
    from bids_core.config import SelectionConfig

    package("last-rows = plug_methods:last")
    assert "last-rows" in METHODS
    assert list(METHODS)[-1] == "last-rows"
    assert METHODS.installed() == {"last-rows": "plug"}
    assert select(VALUES, 2, method="last-rows").indices.tolist() == [18, 19]
    assert METHODS["last-rows"].identity.keys() == {"method", "code"}
    assert SelectionConfig(method="last-rows").main == "last-rows"
    offered = SelectionConfig.model_json_schema()["properties"]["method"]
    assert "last-rows" in offered["anyOf"][0]["enum"]
    assert "`last-rows`: of plug" in offered["description"]


def test_a_package_that_is_broken_is_named_only_where_it_is_used(package):
    package("gone = plug_methods:gone")
    assert "gone" in METHODS.words()
    assert select(VALUES, 2, method="less", tasks=list("aabb")).method == "less"
    with pytest.raises(ConfigError, match="'gone' of the package plug cannot be imported"):
        select(VALUES, 2, method="gone")


def test_two_packages_with_one_name_are_refused(package):
    package("last = plug_methods:last")
    package("last = other_methods:last", name="other")
    with pytest.raises(ConfigError, match="both add a selection method 'last'"):
        select(VALUES, 2, method="last")


def test_picks_of_ours_are_as_they_were():
    found = Picks(np.arange(2), np.zeros(2), np.zeros(2, dtype=np.int64))
    assert found.left_out == ()
