"""The body of SendGrid's ``POST /v3/mail/send`` as a table: which fields there are, their types and limits.

Written from Twilio's reference of the Mail Send API (2026-11). A test compares it with Twilio's own description
where that is at hand.
"""

from typing import Any

TEXT: dict[str, Any] = {"type": "string"}
SOME_TEXT: dict[str, Any] = {"type": "string", "minLength": 1}
WHOLE: dict[str, Any] = {"type": "integer"}
ANY: dict[str, Any] = {"type": "object"}
ON: dict[str, Any] = {"enable": {"type": "boolean"}}


def obj(fields: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": fields, **({"required": list(required)} if required else {})}


def array(items: dict[str, Any], **limits: Any) -> dict[str, Any]:
    return {"type": "array", "items": items, **limits}


MAILBOX = obj({"email": {"type": "string", "format": "email"}, "name": TEXT}, "email")
PERSON = obj(
    {
        "from": MAILBOX,
        "to": array(MAILBOX),
        "cc": array(MAILBOX, maxItems=1000),
        "bcc": array(MAILBOX, maxItems=1000),
        "subject": SOME_TEXT,
        "headers": ANY,
        "substitutions": ANY,
        "dynamic_template_data": ANY,
        "custom_args": ANY,
        "send_at": WHOLE,
    },
    "to",
)
FILE = obj(
    {
        "content": SOME_TEXT,
        "type": SOME_TEXT,
        "filename": TEXT,
        "disposition": {"type": "string", "enum": ["inline", "attachment"]},
        "content_id": TEXT,
    },
    "content",
    "filename",
)
MAIL_SETTINGS = obj(
    {
        **{
            name: obj(ON)
            for name in (
                "bypass_list_management",
                "bypass_spam_management",
                "bypass_bounce_management",
                "bypass_unsubscribe_management",
                "sandbox_mode",
            )
        },
        "footer": obj({**ON, "text": TEXT, "html": TEXT}),
    }
)
TRACKING_SETTINGS = obj(
    {
        "click_tracking": obj({**ON, "enable_text": {"type": "boolean"}}),
        "open_tracking": obj({**ON, "substitution_tag": TEXT}),
        "subscription_tracking": obj({**ON, "text": TEXT, "html": TEXT, "substitution_tag": TEXT}),
        "ganalytics": obj(
            {**ON, **dict.fromkeys(("utm_source", "utm_medium", "utm_term", "utm_content", "utm_campaign"), TEXT)}
        ),
    }
)
BODY = obj(
    {
        "personalizations": array(PERSON, uniqueItems=False, maxItems=1000),
        "from": MAILBOX,
        "reply_to": MAILBOX,
        "reply_to_list": array(MAILBOX, uniqueItems=True, maxItems=1000),
        "subject": SOME_TEXT,
        "content": array(obj({"type": SOME_TEXT, "value": SOME_TEXT}, "type", "value")),
        "attachments": array(FILE),
        "template_id": TEXT,
        "headers": ANY,
        "categories": array({"type": "string", "maxLength": 255}, uniqueItems=True, maxItems=10),
        "custom_args": TEXT,
        "send_at": WHOLE,
        "batch_id": TEXT,
        "asm": obj({"group_id": WHOLE, "groups_to_display": array(WHOLE, maxItems=25)}, "group_id"),
        "ip_pool_name": {"type": "string", "minLength": 2, "maxLength": 64},
        "mail_settings": MAIL_SETTINGS,
        "tracking_settings": TRACKING_SETTINGS,
    },
    "personalizations",
    "from",
)
