"""What the guides say about git is what happens."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.git.conftest import Repository, assert_right, open_store

GUIDES = Path(__file__).parents[2] / "fsstore" / "guides"
SECTION = (GUIDES / "git.md").read_text("utf-8")
SECRETS = (GUIDES / "secrets.md").read_text("utf-8")
COMMANDS, CONFLICT = re.findall(r"^```text\n(.*?)^```", SECTION, re.DOTALL | re.MULTILINE)


def run(repository: Repository, line: str) -> tuple[int, str]:
    done = subprocess.run(
        ["/bin/sh", "-c", line], cwd=repository.root, env=dict(repository.environment), capture_output=True, check=False
    )
    return done.returncode, (done.stdout + done.stderr).decode()


async def test_the_commands_do_what_is_said_and_the_conflict_looks_as_shown(repository: Repository) -> None:
    install, diff, merge, uninstall = COMMANDS.splitlines()
    await repository.save("s-1", metadata={"status": "open", "tags": []}, messages=[])
    before = repository.git("config", "--list", "--local")
    assert run(repository, install)[0] == 0
    repository.commit()
    for branch, status in (("other", "failed"), ("main", "done")):
        repository.git("switch", "-q", *(["-c"] if branch == "other" else []), branch)
        messages = [{"role": "user", "content": f"from {branch}"}]
        await repository.save("s-1", metadata={"status": status, "tags": []}, messages=messages)
        assert f"+[user]\n+    from {branch}\n" in run(repository, diff)[1]
        repository.commit()
    async with await open_store(repository.store) as storage:
        code, said = run(repository, merge)
        assert code == 1
        assert "conflict at $.data.metadata.status; " in said
        place = repository.place("s-1")
        assert CONFLICT in place.read_text()
        place.write_text(place.read_text().replace(CONFLICT, CONFLICT.splitlines()[1] + "\n"))
        repository.git("commit", "-qam", "solved")
        await assert_right(storage, repository.store)
        assert [entry["content"] for entry in (await storage.load("s-1"))["data"]["messages"]] == [
            "from main",
            "from other",
        ]
    assert run(repository, uninstall)[0] == 0
    assert repository.git("config", "--list", "--local") == before


async def test_the_hook_against_secrets_keeps_git_from_the_commit(repository: Repository) -> None:
    (hook,) = re.findall(r"^```sh\n(.*?)^```", SECRETS, re.DOTALL | re.MULTILINE)
    place = repository.root / ".git" / "hooks" / "pre-commit"
    place.parent.mkdir(exist_ok=True)
    place.write_text(hook.replace("my_sessions", str(repository.store.relative_to(repository.root))))
    place.chmod(0o755)
    await repository.save("s-1", metadata={}, settings={"api_key": "k-1"})
    repository.git("add", "-A")
    refused, said = run(repository, "git commit -qm first")
    assert refused == 1
    assert "$.data.settings.api_key" in said
    await repository.save("s-1", metadata={}, settings={})
    repository.git("add", "-A")
    assert run(repository, "git commit -qm first") == (0, "")
