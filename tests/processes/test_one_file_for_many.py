"""25 MB to 10,000 people is 25 MB: on disk, in the memory of who hands it in, and gone with the last of them."""

import os
import sqlite3
from datetime import timedelta

from process_kit import Stage

from deliverykit.providers import SES

MIB = 1024 * 1024
SIZE = 25 * MIB
PEOPLE = 10_000


def test_a_file_for_ten_thousand_people_is_kept_once_until_the_last_of_them_has_it(stage: Stage) -> None:
    keys = {"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
    stage.server(esp=SES(region="us-east-1", base_url=stage.sandbox.url("ses"), **keys))
    content = os.urandom(SIZE)  # nothing makes it smaller
    (stage.folder / "film.bin").write_bytes(content)
    (told,) = stage.finished(stage.start("attach", count=PEOPLE, file="film.bin"))
    ids = told["ids"]
    assert len(ids) == PEOPLE
    # The content as it was read, as SQLite is handed it, and as it makes a row of it; 10,000 messages and their rows beside it.
    assert told["grown"] < 4 * SIZE, f"{told['grown'] / MIB:.0f} MiB"
    for name in ("mail.db", "mail.db-wal"):
        assert (stage.folder / name).stat().st_size < SIZE + PEOPLE * 2048, name
    books = sqlite3.connect(stage.folder / "mail.db")
    kept = "select count(*), sum(length(content)) from dk_file"
    assert books.execute(kept).fetchone() == (1, SIZE)
    stage.mailer.outbox.cancel(ids=ids[:-1])
    stage.move(timedelta(seconds=1))
    stage.mailer.outbox.prune(older_than=timedelta(milliseconds=1))
    assert stage.states() == {"READY": 1}
    assert books.execute(kept).fetchone() == (1, SIZE)
    (report,) = stage.finished(stage.start())
    assert report["accepted"] == 1
    assert books.execute(kept).fetchone() == (0, None)
    books.close()
    (received,) = stage.sandbox.received("ses")
    assert received.to == (f"u{PEOPLE - 1}@example.org",)
    assert received.attachments[0].content == content
