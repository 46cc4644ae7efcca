"""X and y as people bring them."""

import numpy as np
import pandas as pd
import pytest
from msgspec import structs

from boltz_client import dataset
from boltz_client.data_files import read_data
from boltz_client.errors import DataError
from tests.client.mesh_simulation import CUSTOM, FEATURES, LINEAR

X = np.array([[1.0, 150.0, 3.0], [2.0, 50.0, -1.0], [0.0, 100.0, 1.0]])
Y = np.array([0.1, 0.2, 0.3])


def test_features_are_scaled_and_clipped_as_the_task_says():
    examples = dataset.prepare(LINEAR, {"X": X * 1000, "y": Y})
    assert np.abs(examples.X).max() == LINEAR.clip
    assert dataset.prepare(LINEAR, {"X": X, "y": Y}).X.tolist() == [[1, 1, 1], [2, -1, -1], [0, 0, 0]]


@pytest.mark.parametrize(
    "bring",
    [
        lambda: (X.tolist(), Y.tolist()),
        lambda: (X.astype(np.float32), Y.reshape(-1, 1)),
        lambda: (pd.DataFrame(X, columns=FEATURES), pd.Series(Y)),
        lambda: (pd.DataFrame(X, columns=FEATURES).convert_dtypes(), pd.DataFrame({"next_day": Y})),
        lambda: (pd.DataFrame(X, columns=FEATURES, index=list("abc")), pd.Series(Y, index=list("abc"))),
        lambda: (X, pd.Series(Y, index=[7, 8, 9])),
    ],
)
def test_arrays_lists_and_pandas_mean_the_same(bring):
    given_X, given_y = bring()
    examples = dataset.prepare(LINEAR, {"X": given_X, "y": given_y})
    assert examples.X.tolist() == [[1, 1, 1], [2, -1, -1], [0, 0, 0]]
    np.testing.assert_allclose(examples.y, Y)
    assert (examples.invalid_share, examples.feature_coverage) == (0, 1)


def test_missing_values_of_pandas_are_dropped_like_nan():
    frame = pd.DataFrame(X, columns=FEATURES).convert_dtypes()
    frame.loc[1, "volume"] = pd.NA
    examples = dataset.prepare(LINEAR, {"X": frame, "y": Y})
    assert examples.count == 2
    assert examples.invalid_share == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"X": X}, r"found \['X'\]"),
        ([X, Y], "found list"),
        ({"X": X, "y": Y, "z": 1}, "found"),
        ({"X": X[:, :2], "y": Y}, r"\(3, 2\); \(rows, 3\) is needed, in this order: spread, volume, momentum"),
        ({"X": X[0], "y": Y}, r"X has the shape \(3,\)"),
        ({"X": X, "y": Y[:2]}, "X has 3 rows and y has 2"),
        ({"X": X, "y": 1.0}, r"y has the shape \(\)"),
        ({"X": X, "y": np.ones((3, 2))}, "one number per row"),
        ({"X": X[:0], "y": Y[:0]}, "empty"),
        ({"X": X * np.nan, "y": Y}, "each of the 3 rows"),
        ({"X": X, "y": Y * np.inf}, "each of the 3 rows"),
        ({"X": [["a", 1, 2]], "y": [1]}, "X holds something that is not a number"),
        ({"X": X, "y": ["up", "down", "up"]}, "y holds something that is not a number"),
        ({"X": pd.DataFrame({name: ["x"] for name in FEATURES}), "y": [1]}, "not a number"),
        ({"X": pd.DataFrame(X, columns=["spread"] * 3), "y": Y}, "Not the model's, or twice: spread"),
        ({"X": pd.DataFrame(X, columns=FEATURES).assign(more=1), "y": Y}, "twice: more"),
        ({"X": pd.DataFrame(X, columns=FEATURES), "y": pd.Series(Y, index=[2, 1, 0])}, "different indexes"),
    ],
)
def test_data_that_do_not_fit_are_refused_in_words(data, words):
    with pytest.raises(DataError, match=words):
        dataset.prepare(LINEAR, data)


def test_values_that_overflow_when_scaled_are_refused():
    unbounded = structs.replace(LINEAR, clip=None, scale=(1e-300, 1.0, 1.0))
    with pytest.raises(DataError, match="cannot be scaled"):
        dataset.prepare(unbounded, {"X": X * 1e200, "y": Y})


def test_an_error_never_quotes_a_value():
    with pytest.raises(DataError) as caught:
        dataset.prepare(LINEAR, {"X": [["4242.4242", "secret-4242", 1]], "y": [1]})
    assert "4242" not in str(caught.value)


def test_a_custom_task_takes_x_of_any_shape():
    images = np.ones((4, 2, 2))
    images[1, 0, 0] = np.nan
    examples = dataset.prepare(CUSTOM, {"X": images, "y": np.ones((4, 3))})
    assert examples.X.shape == (3, 2, 2)
    assert examples.y.shape == (3, 3)


def test_a_custom_task_needs_rows_too():
    with pytest.raises(DataError):
        dataset.prepare(CUSTOM, {"X": np.float64(1), "y": np.ones(1)})
    with pytest.raises(DataError, match="X has 2 rows and y has none"):
        dataset.prepare(CUSTOM, {"X": np.ones((2, 2)), "y": 3.0})


def test_a_custom_task_with_features_has_their_columns_and_scaling():
    named = structs.replace(LINEAR, kind="custom")
    assert dataset.prepare(named, {"X": X, "y": Y}).X[0].tolist() == [1, 1, 1]


# --- files for the command line


def test_a_csv_is_read_by_its_header_with_gaps_as_missing(tmp_path):
    path = tmp_path / "d.csv"
    path.write_text(
        "\ufeffday, spread,volume,momentum,next_day\nmonday,1,150,3,0.1\ntuesday,,50,-1,0.2\n\nfriday,0,100,1\n"
    )
    data = read_data(path, target="next_day", ignore=["day"])
    assert list(data["X"].columns) == list(FEATURES)
    assert np.isnan(data["X"].to_numpy()[1, 0])
    assert np.isnan(data["y"][2])
    assert dataset.prepare(LINEAR, data).count == 1


def test_an_npz_is_read_without_pickle(tmp_path):
    np.savez(tmp_path / "good.npz", X=X, y=Y)
    assert dataset.prepare(LINEAR, read_data(tmp_path / "good.npz", target=None)).count == 3
    np.savez(tmp_path / "bad.npz", X=np.array([{"a": 1}], dtype=object), y=Y)
    np.savez(tmp_path / "short.npz", X=X)
    for name in ("bad.npz", "short.npz"):
        with pytest.raises(DataError, match="plain arrays X and y"):
            read_data(tmp_path / name, target=None)


@pytest.mark.parametrize(
    ("text", "target", "ignore", "words"),
    [
        ("a,b\n1,2\n", None, [], "it has|has: a, b"),
        ("a,b\n1,2\n", "c", [], "has: a, b"),
        ("a,b\n1,2\n", "b", ["z"], "has: a, b"),
        ("a,b\n1,2\n", "b", ["b"], "among the columns to ignore"),
        ("a,b\n1,2\nx7x,2\n", "b", [], "line 3, column 1 is not a number"),
        ("", "b", [], "has: "),
    ],
)
def test_a_csv_without_what_was_named_says_what_it_has(tmp_path, text, target, ignore, words):
    path = tmp_path / "d.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=words) as caught:
        read_data(path, target=target, ignore=ignore)
    assert "x7x" not in caught.value.message


def test_a_file_that_is_not_there_or_of_another_kind_is_named(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read_data(tmp_path / "none.csv", target="y")
    with pytest.raises(DataError, match=r"neither \.csv nor \.npz"):
        read_data(tmp_path / "d.parquet", target="y")
