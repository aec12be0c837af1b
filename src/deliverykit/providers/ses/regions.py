"""The AWS regions that have SES: to find a typing slip, not to forbid a region that opened since."""

import re
from difflib import get_close_matches

from deliverykit.words.arguments import shown

__all__ = ["region_problem"]

# botocore 1.44.5, the endpoints of sesv2, and the highest number of each; none in aws-cn.
_COUNTED = {
    "af-south": 1, "ap-east": 2, "ap-northeast": 3, "ap-south": 2, "ap-southeast": 7, "ca-central": 1, "ca-west": 1,
    "eu-central": 2, "eu-north": 1, "eu-south": 2, "eu-west": 3, "il-central": 1, "me-central": 1, "me-south": 1,
    "mx-central": 1, "sa-east": 1, "us-east": 2, "us-gov-east": 1, "us-gov-west": 1, "us-west": 2,
}  # fmt: skip
_KNOWN = [f"{area}-{number}" for area, highest in _COUNTED.items() for number in range(1, highest + 1)]

_SHAPE = re.compile(r"[a-z]{2,3}(-gov|-iso[a-z]?)?-(north|south|east|west|central|(north|south)(east|west))-[1-9]\d?")


def region_problem(region: object) -> str:
    """What is wrong with a region's name, with the one that was meant; ``""`` for what can be one."""
    if isinstance(region, str) and (region in _KNOWN or _SHAPE.fullmatch(region)):
        return ""
    if not isinstance(region, str) or len(region) > 64:
        return f"{shown(region)} is not an AWS region; a region looks like 'ap-south-1'"
    near = get_close_matches(region.strip().lower().replace("_", "-"), _KNOWN, n=2)
    meant = f"did you mean {' or '.join(map(repr, near))}?" if near else "a region looks like 'ap-south-1'"
    return f"{shown(region)} is not an AWS region; {meant}"
