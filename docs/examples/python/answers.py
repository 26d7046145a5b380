"""What an answer means to whoever asked, over NATS and over HTTP alike."""

import random

WORTH_A_RETRY = {"busy", "unavailable", "not_open"}


def next_step(answer, operation="book"):
    """What to do with an answer: `done`; `confirm` it before its hold ends; `wait` for the draw;
    `gone`, this request has no place any more; `again`, the same request after a pause; `stop`."""
    match answer["outcome"]:
        case "granted":
            status = answer["booking"]["status"]
            return {"confirmed": "done", "held": "confirm"}.get(status, "gone")
        case "entered":
            return "gone" if operation == "cancel" else "wait"
    return "again" if answer["reason"] in WORTH_A_RETRY else "stop"


def pause_after(tries, answer=None):
    """Seconds until the next try: what the answer names, else 0.2 s, doubled up to 3.2 s;
    scattered, so that a crowd does not come back in step."""
    if answer and answer.get("retry_after_ms") is not None:
        return answer["retry_after_ms"] / 1000 * random.uniform(1, 1.2)
    return 0.2 * 2 ** min(tries - 1, 4) * random.uniform(0.5, 1.5)
