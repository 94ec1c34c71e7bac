"""Logs and sensors: long tool results over a line that drops."""
# ruff: noqa: RUF001 - a sentence stays whole, on one line; Chinese and Japanese use full-width punctuation

from collections.abc import Generator

from tests.workflow.clock import iso
from tests.workflow.scenarios.script import Call, Draw, Reply, Result, Talk, UserLine, call
from tests.workflow.tools.remote import devices, services


def log_triage(draw: Draw) -> Talk:
    """Read logs of a service in rounds, follow the runbook, write a short account at the end."""
    service = draw.pick(services())
    yield draw.user(
        {
            "en": [
                "{service} has been slow since {time}. Can you look?",
                "Page from {service} at {time}. What is going on? 🚨",
            ],
            "zh": ["{service} 从 {time} 开始变慢，帮忙看一下。", "{service} 在 {time} 报警了 🚨"],
            "ja": [
                "{service} が {time} ごろから遅いです。調べてください。",
                "{time} に {service} のアラートが鳴りました 🚨",
            ],
        },
        service=service,
        time=f"{draw.now:%H:%M} UTC",
    )
    seen = 0
    for number in range(draw.rounds(1, 1, 4, 12)):
        name = draw.pick([service, service, "checkout-v2"]) if number else service
        seen += yield from _one_look(draw, name)
    yield from _runbook(draw, service, seen)


def _one_look(draw: Draw, name: str) -> Generator[UserLine | Reply, list[Result], int]:
    """Read one log and be asked for more; returns how many lines were read."""
    (logs,) = yield draw.use(_reading(draw, name))
    if not logs.ok:
        name = draw.pick(services())
        (logs,) = yield draw.use(_reading(draw, name))
    lines = logs.value["lines"]
    errors = [line for line in lines if " ERROR " in line]
    yield draw.answer(
        {
            "en": [
                "{n} lines from {service}, {errors} of them errors. The latest: `{last}`",
                "{service}: {errors} errors in {n} lines. Last one:\n```\n{last}\n```",
            ],
            "zh": ["{service} 最近 {n} 行里有 {errors} 条错误，最新一条：`{last}`"],
            "ja": ["{service} の直近 {n} 行のうち {errors} 件がエラーです。最新：`{last}`"],
        },
        n=len(lines),
        service=name,
        errors=len(errors),
        last=(errors or lines)[-1],
    )
    yield draw.user(
        {
            "en": [
                "Keep going, what do the neighbours say?",
                "Look further.",
                "Anything in the other services?",
                "And now?",
            ],
            "zh": ["继续看别的服务。", "还有吗？", "再查一次。"],
            "ja": ["ほかのサービスも見てください。", "続けてください。", "今はどうですか？"],
        }
    )
    return len(lines)


def _reading(draw: Draw, service: str) -> Call:
    level, limit = draw.pick(["INFO", "WARN", "ERROR"]), draw.rounds(6, 10, 18, 26)
    return call("search_logs", service=service, until=iso(draw.now), level=level, limit=limit)


_RUNBOOKS = {"en": "queue consumers workers runbook", "zh": "排查 队列 消费者", "ja": "手順書 ディスク ログ"}


def _runbook(draw: Draw, service: str, seen: int) -> Talk:
    (hits,) = yield draw.use(call("search_knowledge", query=_RUNBOOKS.get(draw.locale, _RUNBOOKS["en"]), limit=1))
    (article,) = yield draw.use(call("read_article", article_id=hits.value[0]["id"]))
    step = article.value["body"].split("\n")[0]
    yield draw.answer(
        {
            "en": ['{seen} lines read in all. The runbook "{title}" says: {step} I would start there with {service}.'],
            "zh": ["一共看了 {seen} 行日志。《{title}》里写道：{step}建议从 {service} 开始。"],
            "ja": [
                "合計 {seen} 行を確認しました。「{title}」によると、{step}まず {service} から始めるのがよいでしょう。"
            ],
        },
        seen=seen,
        title=article.value["title"],
        step=step,
        service=service,
    )


_MISTYPED = {
    "greenhouse-1": "greenhouse1",
    "cold-store-3": "cold-store",
    "harbour-tide": "harbor-tide",
    "倉庫-05": "倉庫-5",
}


def sensor_check(draw: Draw) -> Talk:
    """Read sensors and describe the readings; unknown devices are refused by name."""
    for _ in range(draw.rounds(1, 1, 3, 8)):
        device, hours = draw.pick(devices()), draw.rounds(6, 10, 18, 30)
        asked = _MISTYPED.get(device, device) if draw.often(0.45) else device
        yield draw.user(
            {
                "en": [
                    "How did {device} do in the last {hours} hours?",
                    "Give me {device}, {hours} h.",
                    "Is {device} within its band? Look back {hours} hours.",
                ],
                "zh": ["看一下 {device} 最近 {hours} 小时的数据。", "{device} 这 {hours} 个小时正常吗？"],
                "ja": [
                    "{device} の直近 {hours} 時間を見せてください。",
                    "{device} は正常ですか？（{hours} 時間分）",
                ],
            },
            device=asked,
            hours=hours,
        )
        (read,) = yield draw.use(call("read_sensor", device=asked, until=iso(draw.now), hours=hours))
        if not read.ok:
            (read,) = yield draw.use(call("read_sensor", device=device, until=iso(draw.now), hours=hours))
        values = [reading["value"] for reading in read.value["readings"]]
        (summary,) = yield draw.use(call("describe_numbers", values=values))
        yield draw.answer(
            {
                "en": [
                    "{device} ({measures}): {min} to {max} {unit}, mean {mean}. Latest {last} {unit}.",
                    "{measures} on {device} averaged {mean} {unit} over {count} readings, deviation {stdev}.",
                ],
                "zh": ["{device}（{measures}）：{min}～{max} {unit}，平均 {mean}，最新 {last} {unit}。"],
                "ja": ["{device}（{measures}）は {min}〜{max} {unit}、平均 {mean}、最新値 {last} {unit} です。"],
            },
            device=read.value["device"],
            measures=read.value["measures"],
            unit=read.value["unit"],
            last=values[-1],
            **summary.value,
        )
