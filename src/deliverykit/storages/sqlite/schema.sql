-- The embedded storage. Times are UTC milliseconds. Rows of `mail` are narrow and hot; letters and files stand apart.

create table if not exists dk_meta (key text primary key, value text not null) without rowid;

create table if not exists dk_account (
  id      text primary key,
  version integer not null            -- drawn anew with each change of its documents, never 0
);

create table if not exists dk_document (
  seq     integer primary key,
  account text not null,
  kind    text not null,
  id      text not null,
  data    text not null,
  secrets blob not null default x'',
  unique (account, kind, id)
);

create table if not exists dk_state (
  key    text primary key,
  seen   integer not null,            -- the highest clock this record was decided on
  record text not null                -- {"owner/limit": [whole numbers]}
) without rowid;

create table if not exists dk_lane (
  id            integer primary key,
  account       text not null,
  route         text not null,
  stream        text not null,
  key           text not null,
  blocked_until integer not null default 0,
  blocked_by    text not null default '',
  blocked_since integer not null default 0,
  pacing        integer not null default 0,
  served_at     integer not null default 0,
  -- How many of its mails wait, are in doubt, are dead: kept by the triggers below. What workers have in hand is counted afresh.
  ready         integer not null default 0,
  in_doubt      integer not null default 0,
  scheduled     integer not null default 0,
  dead          integer not null default 0,
  unique (account, route, stream, key)
);

create table if not exists dk_mail (
  id          integer primary key,    -- the order within a lane and priority
  uid         text not null unique,
  lane        integer not null references dk_lane (id),
  state       integer not null,
  priority    integer not null,
  due         integer not null,
  expires     integer not null,
  cost        integer not null,
  encloses    integer not null default 0,    -- how many files it encloses
  attempts    integer not null default 0,
  expiries    integer not null default 0,
  lease_until integer not null default 0,
  token       text not null default '',
  server      text not null default '',
  reason      text not null default '',
  since       integer not null default 0,    -- waits, is in doubt or dead since
  resend       integer not null default 0,  -- ms of the first rest before mail of unknown fate goes again; 0: it is held
  resends      integer not null default 0,
  doubt_at     integer not null default 0,  -- the last attempt of unknown fate: when, and whose
  doubt_server text not null default '',
  memo         text not null default '',    -- whole numbers that the engine keeps with the message, as JSON
  heard        text not null default ''     -- an event that proves it was sent came while it was on the wire
);
-- `ready` means due, so no index over it mentions a time: a blocked backlog of any size costs nothing.
create index if not exists dk_mail_ready     on dk_mail (lane, priority desc, id) where state = 0;
create index if not exists dk_mail_leased    on dk_mail (lease_until)             where state in (1, 2);
create index if not exists dk_mail_scheduled on dk_mail (due)                     where state = 4;
create index if not exists dk_mail_due       on dk_mail (lane, due)               where state = 4;
create index if not exists dk_mail_ended     on dk_mail (lane, state)             where state in (3, 5);
create index if not exists dk_mail_expiring  on dk_mail (expires)                 where expires < 4611686018427387904 and state in (0, 4);
create index if not exists dk_mail_lane      on dk_mail (lane);   -- without the state, which changes three times a mail

-- A claim counts its whole batch in the statement that it writes anyway, so ready -> leased is left to it: it alone gives a new
-- token, whereas a late answer to what is ready again holds it by the old one. Leased -> sending -> gone, the rest of most
-- mails' way, counts nothing.
create trigger if not exists dk_mail_come after insert on dk_mail when new.state not in (1, 2) begin
  update dk_lane set ready = ready + (new.state = 0), in_doubt = in_doubt + (new.state = 3),
    scheduled = scheduled + (new.state = 4), dead = dead + (new.state = 5) where id = new.lane;
end;
create trigger if not exists dk_mail_move after update of state on dk_mail
when old.lane = new.lane and old.state <> new.state and not (new.state in (1, 2) and (old.state in (1, 2) or (new.state - old.state = 1 and new.token <> old.token))) begin
  update dk_lane set ready = ready + (new.state = 0) - (old.state = 0), in_doubt = in_doubt + (new.state = 3) - (old.state = 3),
    scheduled = scheduled + (new.state = 4) - (old.state = 4), dead = dead + (new.state = 5) - (old.state = 5) where id = new.lane;
end;
create trigger if not exists dk_mail_shift after update of lane on dk_mail when old.lane <> new.lane begin
  update dk_lane set ready = ready - (old.state = 0), in_doubt = in_doubt - (old.state = 3),
    scheduled = scheduled - (old.state = 4), dead = dead - (old.state = 5) where id = old.lane;
  update dk_lane set ready = ready + (new.state = 0), in_doubt = in_doubt + (new.state = 3),
    scheduled = scheduled + (new.state = 4), dead = dead + (new.state = 5) where id = new.lane;
end;
create trigger if not exists dk_mail_go after delete on dk_mail when old.state not in (1, 2) begin
  update dk_lane set ready = ready - (old.state = 0), in_doubt = in_doubt - (old.state = 3),
    scheduled = scheduled - (old.state = 4), dead = dead - (old.state = 5) where id = old.lane;
end;

create table if not exists dk_letter (mail integer primary key, body blob not null);
create table if not exists dk_file (hash text primary key, content blob not null);
create table if not exists dk_enclosed (mail integer not null, hash text not null, primary key (mail, hash)) without rowid;
create index if not exists dk_enclosed_hash on dk_enclosed (hash);

-- Idempotency keys, hashed, each for a day.
create table if not exists dk_once (
  id      integer primary key,
  account text not null,
  key     text not null,
  at      integer not null,
  uid     text not null,
  print   text not null,
  unique (account, key)
);
create index if not exists dk_once_at  on dk_once (at);
create index if not exists dk_once_uid on dk_once (uid);

create table if not exists dk_log (
  id          integer primary key,
  at          integer not null,
  uid         text not null,
  account     text not null,
  server      text not null,
  outcome     text not null,
  detail      text not null,
  provider_id text not null
);
create index if not exists dk_log_uid on dk_log (uid);
create index if not exists dk_log_at  on dk_log (account, at);

-- Who each mail went to, as keyed hashes; in the order of taking in.
create table if not exists dk_recipient (
  id  integer primary key,
  at  integer not null,
  who blob not null,
  uid text not null
);
create index if not exists dk_recipient_who on dk_recipient (who, uid);
