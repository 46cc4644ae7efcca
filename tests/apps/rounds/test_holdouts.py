"""What a hold-out must look like, where it lies, and what an operator is told of a bad one."""

import io
import pickle
import stat
import zipfile

import numpy as np
import pytest

from apps.audit import selectors as log
from apps.audit import services as audit
from apps.rounds import holdouts, services
from apps.rounds.models import FederatedModel
from boltz_core.rounds.gate import GateError
from boltz_core.rounds.states import WrongStateError
from tests.apps.mesh import FEATURES, data
from tests.apps.unchanged import nothing_changes

pytestmark = pytest.mark.django_db(transaction=True)


def set_gate(trained, path, **options):
    return services.set_gate(trained.model, services.GateRequest(path, **options), actor="test", reason="we look first")


def stored(mesh):
    return mesh.files("holdouts")


def npz_of(path, **members):
    """An npz with these bytes in it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, raw in members.items():
            archive.writestr(f"{name}.npy", raw)
    return path


def npy(array, **options):
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def csv_of(path, task, table, *, columns=None, ending="\n"):
    names = columns or [*task.features, task.target]
    path.write_text(ending.join([",".join(names), *(",".join(map(repr, row)) for row in table.tolist()), ""]))
    return path


# --- put in place -------------------------------------------------------------------------------------------------------


def test_a_gate_names_the_metric_of_the_task_and_the_digest_of_what_is_stored(trained, holdout):
    gate, score = set_gate(trained, holdout)
    assert (gate.metric, gate.margin, gate.rows) == ("mse", 0.0, 300)
    assert trained.model.version_gate() == gate
    assert score == pytest.approx(float(np.mean(data(seed=99, rows=300)["y"] ** 2)), rel=1e-12)
    assert [path.name for path in stored(trained.mesh)] == [f"{trained.model.pk}-{gate.holdout_sha256}.npy"]
    entry = audit.read_detail(log.entries_of_type("gate.changed").get())
    assert (entry["gate"]["holdout_sha256"], entry["reason"]) == (gate.holdout_sha256, "we look first")


def test_what_is_stored_is_what_was_given_and_for_its_owner_alone(trained, holdout):
    gate, _ = set_gate(trained, holdout)
    read = holdouts.load(trained.model, gate)
    given = np.load(holdout)
    assert np.array_equal(read.features, given["X"])
    assert np.array_equal(read.target, given["y"])
    [path] = stored(trained.mesh)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_csv_with_its_columns_in_any_order_is_the_same_hold_out(trained, holdout, tmp_path, ending):
    task, given = trained.model.task_spec(), np.load(holdout)
    columns = [task.target, *reversed(task.features)]
    table = np.column_stack([given["y"], given["X"][:, ::-1]])
    from_csv, _ = set_gate(trained, csv_of(tmp_path / "h.csv", task, table, columns=columns, ending=ending))
    assert from_csv.holdout_sha256 == set_gate(trained, holdout)[0].holdout_sha256


def test_another_hold_out_takes_the_place_of_the_last_one(trained, holdout, tmp_path):
    set_gate(trained, holdout)
    np.savez(tmp_path / "other.npz", **data(seed=3, rows=50))
    gate, _ = set_gate(trained, tmp_path / "other.npz", metric="r2", margin=0.01)
    assert (gate.metric, gate.margin, gate.rows) == ("r2", 0.01, 50)
    assert stored(trained.mesh) == [holdouts.stored_path(trained.model, gate.holdout_sha256)]


def test_the_same_hold_out_for_another_model_is_a_file_of_its_own(trained, holdout):
    other = trained.mesh.make_model("other", opened=False)
    set_gate(trained, holdout)
    services.set_gate(other, services.GateRequest(holdout), actor="test", reason="too")
    services.remove_gate(trained.model, actor="test", reason="no more")
    assert [path.name.split("-")[0] for path in stored(trained.mesh)] == [str(other.pk)]


def test_a_gate_that_is_removed_takes_its_hold_out_with_it(trained, holdout):
    set_gate(trained, holdout)
    services.remove_gate(trained.model, actor="test", reason="no more")
    assert (trained.model.version_gate(), stored(trained.mesh)) == (None, [])
    with nothing_changes(), pytest.raises(WrongStateError, match="has no gate"):
        services.remove_gate(trained.model, actor="test", reason="no more")


# --- bad ones -----------------------------------------------------------------------------------------------------------


def refusal(trained, path, **options):
    """What an operator is told; nothing has changed."""
    with nothing_changes(), pytest.raises(GateError) as refused:
        set_gate(trained, path, **options)
    assert refused.value.code == "invalid_gate"
    return refused.value.message


X, Y = data(rows=4)["X"], data(rows=4)["y"]


@pytest.mark.parametrize(
    ("arrays", "why"),
    [
        ({"X": X[:, 1:], "y": Y}, f"features have the shape (4, 8); (rows, {FEATURES}) is needed"),
        ({"X": X[0], "y": Y}, f"features have the shape (9,); (rows, {FEATURES}) is needed"),
        ({"X": X, "y": Y[1:]}, "the targets have the shape (3,); (4,) is needed"),
        ({"X": X, "y": Y[:, None]}, "the targets have the shape (4, 1); (4,) is needed"),
        ({"X": X[:1], "y": Y[:1]}, "a hold-out needs 2 rows or more, and has 1"),
        ({"X": np.where(np.arange(9) == 1, np.nan, X), "y": Y}, "features must be finite"),
        ({"X": X, "y": np.array([1, np.inf, 1, 1])}, "targets must be finite"),
        ({"X": X, "y": np.full(4, 1e300)}, "the current version has no finite mse on this hold-out"),
        ({"X": X}, "it is not an npz with the arrays X and y (numpy.savez(file, X=..., y=...))"),
        ({"X": X.astype(str), "y": Y}, "X is not an array of numbers"),
        ({"X": X, "y": Y.astype(complex)}, "y is not an array of numbers"),
    ],
)
def test_an_npz_that_does_not_fit_the_task_is_refused(trained, tmp_path, arrays, why):
    np.savez(tmp_path / "h.npz", **arrays)
    assert refusal(trained, tmp_path / "h.npz") == why


class Harmful:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pickle_inside_is_refused_and_not_run(trained, tmp_path):
    harmful = np.array([Harmful(tmp_path / "harm")], dtype=object)
    path = npz_of(tmp_path / "h.npz", X=npy(harmful, allow_pickle=True), y=npy(Y))
    assert refusal(trained, path) == "X is not an array of numbers"
    npz_of(path, X=pickle.dumps(Harmful(tmp_path / "harm")), y=npy(Y))
    assert refusal(trained, path) == "X is not an array of numbers"
    assert not (tmp_path / "harm").exists()


def test_a_header_that_promises_more_than_there_is_is_refused(trained, tmp_path):
    header = io.BytesIO()
    shape = {"descr": "<f8", "fortran_order": False, "shape": (10**12, 9)}
    np.lib.format.write_array_header_1_0(header, shape)
    path = npz_of(tmp_path / "h.npz", X=header.getvalue() + bytes(720), y=npy(Y))
    assert refusal(trained, path) == "X is not an array of numbers"


@pytest.mark.parametrize("shape", [b"(4, 9", b"(4, (", b"'4','", b"-4, 9)"])
def test_a_header_that_makes_no_sense_is_refused(trained, tmp_path, shape):
    path = npz_of(tmp_path / "h.npz", X=npy(X).replace(b"(4, 9)", shape.ljust(6)), y=npy(Y))
    assert refusal(trained, path) == "X is not an array of numbers"


def test_what_unpacks_to_more_than_the_limit_is_refused(trained, tmp_path):
    path = npz_of(tmp_path / "h.npz", X=bytes(holdouts.MAX_BYTES + 1), y=npy(Y))
    assert path.stat().st_size < 1 << 20
    assert refusal(trained, path) == "X unpacks to more than 64 MiB; take fewer rows"


def test_a_file_that_is_too_large_is_refused(trained, holdout, monkeypatch):
    monkeypatch.setattr(holdouts, "MAX_BYTES", 2 << 10)
    assert "is larger than 0 MiB; take fewer rows" in refusal(trained, holdout)


def test_what_would_be_stored_is_no_larger_than_the_limit(trained, tmp_path, monkeypatch):
    # 200 rows of bytes are small, and eight times as many as numbers
    np.savez_compressed(tmp_path / "h.npz", X=np.zeros((200, 9), np.int8), y=np.zeros(200, np.int8))
    monkeypatch.setattr(holdouts, "MAX_BYTES", 4000)
    assert refusal(trained, tmp_path / "h.npz") == "the hold-out is larger than 0 MiB; take fewer rows"


@pytest.mark.parametrize(
    "damage", [lambda raw: raw[:-30], lambda raw: raw[:100] + b"x" * 50 + raw[150:], lambda _: b""]
)
def test_a_damaged_npz_is_refused(trained, holdout, damage):
    holdout.write_bytes(damage(holdout.read_bytes()))
    assert "it is not an npz" in refusal(trained, holdout)


def test_a_file_that_is_not_there_is_refused(trained, tmp_path):
    assert refusal(trained, tmp_path / "none.npz") == "none.npz cannot be read: No such file or directory"


def test_a_file_of_another_kind_is_refused(trained, tmp_path):
    (tmp_path / "h.parquet").touch()
    assert refusal(trained, tmp_path / "h.parquet") == "h.parquet is neither an .npz nor a .csv"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda text: text.replace("fall", "rise", 1), "the csv needs the columns"),
        (lambda text: text.split("\n", 1)[0], "the csv has no rows"),
        (lambda text: text.replace("\n", ",1\n").replace(",1\n", "\n", 1), "10 columns in its header and 11 below it"),
        (lambda text: text + "1,2\n", "the csv is not a table of numbers"),
        (lambda text: text.replace("0.", "zero", 5), "the csv is not a table of numbers"),
        (lambda text: text.replace("\n0.", "\nnan\n", 1), "the csv is not a table of numbers"),
    ],
)
def test_a_csv_that_does_not_fit_the_task_is_refused(trained, tmp_path, change, why):
    table = np.abs(np.column_stack([X, Y])) % 1
    path = csv_of(tmp_path / "h.csv", trained.model.task_spec(), table)
    path.write_text(change(path.read_text()))
    assert why in refusal(trained, path)


def test_a_csv_that_is_no_text_is_refused(trained, tmp_path):
    (tmp_path / "h.csv").write_bytes(b"\xff\xfe\x00")
    assert refusal(trained, tmp_path / "h.csv") == "the csv is not UTF-8"


def test_an_unknown_metric_or_a_bad_margin_is_refused(trained, holdout):
    assert "'accuracy' is none of mse, mae, r2" in refusal(trained, holdout, metric="accuracy")
    assert "it must be a number from 0 on" in refusal(trained, holdout, margin=-1.0)


def test_a_hold_out_whose_task_is_for_its_participants_alone_is_refused(mesh, holdout):
    model = mesh.make_model(opened=False)
    FederatedModel.objects.update(task=model.task | {"kind": "custom"})
    with pytest.raises(GateError, match="it can have no gate"):
        services.set_gate(
            FederatedModel.objects.get(), services.GateRequest(holdout), actor="test", reason="we look first"
        )
