"""What a host does with accounts, servers, routes and the outbox: each verb written once, in no colour."""
