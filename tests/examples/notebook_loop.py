"""An agent's loop as it is written in a notebook: run a cell again, or restart the kernel, and it goes on.

Each `# %%` begins a cell. A notebook has an event loop that runs already; `fsstore.sync` works there as everywhere.
"""

# %% the store, and the session of this piece of work
import os
from collections.abc import Callable
from typing import Any

import fsstore.sync

sessions = fsstore.sync.open_sessions(os.environ.get("NOTEBOOK_STORE", "notebook"))
NAME = "research-1"
GOAL = "How many letters has the longest word?"

# %% tools, and a model that stands for yours
TEXT = "the quick brown fox jumps over the lazy hippopotamus"


def longest_word() -> str:
    return max(TEXT.split(), key=len)


def count_letters(word: str) -> int:
    return len(word)


TOOLS: dict[str, Callable[..., Any]] = {"longest_word": longest_word, "count_letters": count_letters}


def next_step(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Stand for the model: decide by what was done so far."""
    results = [message["content"] for message in messages if message["role"] == "tool"]
    if not results:
        return {"role": "assistant", "tool": "longest_word", "arguments": {}}
    if len(results) == 1:
        return {"role": "assistant", "tool": "count_letters", "arguments": {"word": results[0]}}
    return {"role": "assistant", "content": f"The longest word has {results[1]} letters."}


# %% begin, or go on: an append with `unique_by` does nothing the second time
sessions.append_session(NAME, [{"id": "goal", "role": "user", "content": GOAL}], unique_by="id")

# %% the loop: every step is on disk before the next one begins
while True:
    messages = sessions.read_tail(NAME, 50).items
    last = messages[-1]
    if "tool" in last and last["role"] == "assistant":
        # also after a restart between the decision and the result
        content = TOOLS[last["tool"]](**last["arguments"])
        sessions.append_session(NAME, [{"role": "tool", "tool": last["tool"], "content": content}])
    elif last["role"] == "assistant":
        break
    else:
        sessions.append_session(NAME, [next_step(messages)], metadata={"status": "working"})

# %% the answer
sessions.update_session(NAME, {"metadata": {"status": "done"}})
print(sessions.read_tail(NAME, 1).items[0]["content"])

# %% what was done, and what else there is
for metadata in sessions.list_metadata({"status": "done"}, limit=10):
    print(metadata["session_id"], metadata["status"], sessions.read_tail(metadata["session_id"], 0).length, "messages")

# %% at the end; a kernel that is killed instead loses nothing that was acknowledged
sessions.close()
