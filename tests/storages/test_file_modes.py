"""New database files are private from the first moment; existing ones keep their mode, and the doctor warns."""

import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

from deliverykit import ConfigurationError, Env, Mailer
from deliverykit.providers import SendGrid
from deliverykit.storages.sqlite.modes import create

pytestmark = pytest.mark.skipif(not hasattr(os, "fchmod"), reason="modes are POSIX's")


def modes(folder):
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir() if path.is_file()}


@pytest.fixture(params=[0o022, 0o000, 0o077, 0o277, 0o777], ids=lambda mask: f"{mask:03o}")
def umask(request):
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.parametrize(("query", "mode"), [("", 0o600), ("?mode=0660", 0o660), ("?mode=600", 0o600), ("?mode=0o640", 0o640)])
def test_new_files_have_their_mode_under_any_umask(tmp_path, umask, query, mode):
    with Mailer(f"sqlite:///{tmp_path / 'mail.db'}{query}") as mailer:
        mailer.servers.add(id="s", name="S", provider=SendGrid(api_key=Env("X")), sender="n@example.com")
        found = modes(tmp_path)
        assert {"mail.db", "mail.db-wal", "mail.db-shm"} <= found.keys()
        assert set(found.values()) == {mode}, found


def test_existing_file_keeps_its_mode_and_the_doctor_warns(tmp_path):
    path = tmp_path / "mail.db"
    path.touch()
    path.chmod(0o644)
    with Mailer(f"sqlite:///{path}") as mailer:
        mailer.servers.list()
        assert modes(tmp_path)["mail.db"] == 0o644
        warned = [one.what for one in mailer.doctor() if one.severity == "warning" and "mode 0644" in one.what]
        assert len(warned) == 3, warned  # the file and its two side files
        assert all("open to everybody" in one for one in warned)
        path.chmod(0o660)
        assert any("its group" in one.what for one in mailer.doctor())
    with Mailer(f"sqlite:///{path}?mode=0660") as mailer:
        assert not any("open to" in one.what for one in mailer.doctor())


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root")
def test_the_doctor_warns_of_a_foreign_owner(tmp_path):
    path = tmp_path / "mail.db"
    with Mailer(f"sqlite:///{path}") as mailer:
        mailer.servers.list()
        assert not any("another user" in one.what for one in mailer.doctor())
        os.chown(path, 12345, 12345)
        assert any("another user (uid 12345" in one.what for one in mailer.doctor())


def test_a_dangling_link_creates_a_private_file(tmp_path):
    (tmp_path / "link.db").symlink_to(tmp_path / "real.db")
    before = os.umask(0)
    try:
        with Mailer(f"sqlite:///{tmp_path / 'link.db'}") as mailer:
            mailer.servers.list()
            assert modes(tmp_path)["real.db"] == 0o600
    finally:
        os.umask(before)


def test_the_file_is_never_wider_for_a_moment(tmp_path, monkeypatch):
    """Every descriptor of a new file is asked for its mode at once."""
    seen = []
    true_open = os.open

    def watched(path, flags, mode=0o777, **options):
        descriptor = true_open(path, flags, mode, **options)
        seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return descriptor

    monkeypatch.setattr(os, "open", watched)
    before = os.umask(0)
    try:
        create(str(tmp_path / "mail.db"), 0o660)
    finally:
        os.umask(before)
    assert seen == [0o600]
    assert modes(tmp_path) == {"mail.db": 0o660}


def test_rollback_journals_are_private_too(tmp_path):
    path = tmp_path / "mail.db"
    before = os.umask(0)
    try:
        create(str(path), 0o600)
        books = sqlite3.connect(path, isolation_level=None)
        books.executescript("create table t (x); begin immediate; insert into t values (1);")
        assert modes(tmp_path)["mail.db-journal"] == 0o600
        books.close()
    finally:
        os.umask(before)


@pytest.mark.parametrize("wrong", ["0666", "0604", "0400", "0770", "rw", "", "99", "0x1ff", "-660", "٠٦٠٠", "00600600"])
def test_other_modes_are_refused(tmp_path, wrong):
    with pytest.raises(ConfigurationError, match="mode"):
        Mailer(f"sqlite:///{tmp_path / 'mail.db'}?mode={wrong}")
    with pytest.raises(ConfigurationError, match="moed"):
        Mailer(f"sqlite:///{tmp_path / 'mail.db'}?moed=0600")
    with pytest.raises(ConfigurationError, match="mode is given 2 times"):
        Mailer(f"sqlite:///{tmp_path / 'mail.db'}?mode=0600&mode=0660")
    assert modes(tmp_path) == {}


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root")
def test_two_users_of_one_group_share_a_file():
    """A web user creates the file, a worker of the same group writes it."""
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to other users
        os.chown(folder, 0, 4242)
        Path(folder).chmod(0o770)
        shared_by_two(Path(folder) / "mail.db")


def shared_by_two(path):
    program = textwrap.dedent(
        """
        import os, sys
        from deliverykit import Mailer, Env
        from deliverykit.providers import SendGrid
        with Mailer("sqlite:///" + sys.argv[1] + ".warm") as warm:  # imports what another user may not be able to read
            warm.servers.add(name="S", provider=SendGrid(api_key=Env("X")), sender="n@example.com")
            os.setgroups([]); os.setgid(4242); os.setuid(int(sys.argv[2])); os.umask(0o022)
            with Mailer(f"sqlite:///{sys.argv[1]}?mode=0660") as mailer:
                mailer.servers.add(name="S", provider=SendGrid(api_key=Env("X")), sender="n@example.com")
                print(len(mailer.servers.list()))
            os._exit(sys.stdout.flush() or 0)
        """
    )
    with Mailer(f"sqlite:///{path}?mode=0660") as mailer:
        mailer.servers.list()
    os.chown(path, 4001, 4242)
    for number, uid in enumerate((4001, 4002), 1):
        done = subprocess.run([sys.executable, "-c", program, str(path), str(uid)], capture_output=True, text=True, check=False)
        assert (done.stdout, done.stderr[-400:]) == (f"{number}\n", "")
