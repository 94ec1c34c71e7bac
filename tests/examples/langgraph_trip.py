"""A graph that stops to ask, and goes on in a new process: `python -m tests.examples.langgraph_trip STORE`.

The model is scripted, so no network and no key are needed. The program starts itself once for each half.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.store.base import BaseStore
from langgraph.types import Command, interrupt

from fsstore.integrations.langgraph import FsstoreSaver, FsstoreStore

THREAD: Any = {"configurable": {"thread_id": "trip-1"}, "metadata": {"user_id": "u-1"}}


def suggest(_: MessagesState) -> dict[str, Any]:
    """Say what a model would say."""
    return {"messages": [AIMessage("Lisbon or Porto?", id="m-2")]}


def ask(_: MessagesState) -> dict[str, Any]:
    """Stop until somebody has chosen."""
    city = interrupt("which city?")
    return {"messages": [HumanMessage(city, id="m-3")]}


def book(state: MessagesState, *, store: BaseStore) -> dict[str, Any]:
    """Do as was said, and remember it for other threads."""
    city = state["messages"][-1].text
    store.put(("u-1", "likes"), "city", {"city": city})
    return {"messages": [AIMessage(f"booked {city}", id="m-4")]}


def run(store: str, half: str) -> None:
    """Run the graph up to the question, or from the answer on."""
    builder = StateGraph(MessagesState)
    builder.add_node("suggest", suggest).add_node("ask", ask).add_node("book", book)
    builder.add_edge(START, "suggest").add_edge("suggest", "ask").add_edge("ask", "book").add_edge("book", END)
    with FsstoreSaver(store) as saver, FsstoreStore(store) as memory:
        graph = builder.compile(checkpointer=saver, store=memory)
        if half == "first":
            state = graph.invoke({"messages": [HumanMessage("Where to in May?", id="m-1")]}, THREAD)
            print(f"first: stopped and asks {state['__interrupt__'][0].value!r}")
        else:
            messages = graph.invoke(Command(resume="Lisbon"), THREAD)["messages"]
            print(f"second: {messages[-1].text}, with {len(messages)} messages in its history")


def look(store: str) -> None:
    """Find checkpoints by a filter, what was remembered, and one of the files."""
    with FsstoreSaver(store) as saver, FsstoreStore(store) as memory:
        for found in saver.list(None, filter={"user_id": "u-1", "source": "loop"}, limit=2):
            print("found", found.config["configurable"]["checkpoint_ns"] or "-", found.metadata)
        for item in memory.search(("u-1",)):
            print("remembered:", item.value)
    newest = max(Path(store).glob("??/*.json"), key=lambda path: path.read_text("utf-8").count('"book"'))
    print(newest.relative_to(store), "has", newest.read_text("utf-8").count("\n"), "lines")


def main() -> None:
    """Run one half, or both in processes of their own, and then look."""
    store, *halves = sys.argv[1:]
    if halves:
        run(store, halves[0])
        return
    for half in ("first", "second"):
        subprocess.run([sys.executable, "-m", "tests.examples.langgraph_trip", store, half], check=True)
    look(store)


if __name__ == "__main__":
    main()
