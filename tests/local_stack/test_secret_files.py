import stat

from local_stack.secret_files import kept_secret, write_secret


def test_a_secret_is_made_once(tmp_path):
    made = iter(["first", "second"])
    path = tmp_path / "secrets" / "key"
    assert [kept_secret(path, lambda: next(made)) for _ in range(2)] == ["first", "first"]


def test_only_the_owner_may_read_a_secret(tmp_path):
    path = tmp_path / "secrets" / "key"
    kept_secret(path, lambda: "secret")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_write_that_was_cut_short_does_not_stand_in_the_way(tmp_path):
    (tmp_path / "key.partial").write_text("hal")
    write_secret(tmp_path / "key", "whole")
    assert (tmp_path / "key").read_text() == "whole"
    assert not (tmp_path / "key.partial").exists()
