"""A chat served from Python: login, rooms, private messages. `make example` runs it behind three nodes.

    python chat.py 127.0.0.1:4001 127.0.0.1:4002 127.0.0.1:4003

It dials one of the nodes and serves the namespace /chat on all of them. When that node or this
program dies, no socket is disconnected: dial again, and go on. docs/grpc.md has the rules.
"""

import asyncio
import itertools
import json
import re
import sys

import grpc

import api_pb2 as api
import backend_pb2 as backend
import backend_pb2_grpc as door

NAMESPACE = "/chat"
NAME = re.compile(r"[\w .-]{1,24}")
identities = {}  # Who is who, by socket; told anew by Connected whenever sockets are bound to us.


def event(name, *args):
    return api.Event(name=name, args=json.dumps(args))


def answer(**fields):
    return {"answer": {"args": json.dumps([fields])}}


def refuse(code, message):
    return {"error": {"code": code, "message": message}}


class Chat:
    """One stream: what is asked comes in, answers and operations go out."""

    def __init__(self):
        self.outgoing = asyncio.Queue()
        self.numbers = itertools.count(1)
        self.results = {}
        self.send(hello={"name": "chat.py", "namespaces": [
            {"namespace": NAMESPACE, "events": ["join", "say", "whisper"],
             "admits": True, "disconnects": True}]})

    def send(self, **message):
        self.outgoing.put_nowait(backend.FromBackend(**message))

    async def operate(self, call, **what):
        """An operation of the call's socket; its offset, once it is in the log."""
        number = next(self.numbers)
        awaited = self.results[number] = asyncio.get_running_loop().create_future()
        self.send(operation={"call": call, "number": number, **what})
        result = await awaited
        if result.HasField("error"):
            raise RuntimeError(f"{result.error.code}: {result.error.message}")
        return result.done.offset

    def admit(self, call, asked):
        name = json.loads(asked.auth or "{}").get("identity")
        if isinstance(name, str) and NAME.fullmatch(name):
            return self.send(admission={"call": call, "accept": {"identity": name}})
        self.send(admission={"call": call, "reject": {"message": "choose a name of 1 to 24 letters"}})

    async def connected(self, call, asked):
        name = identities[asked.socket.id] = asked.socket.identity
        if f"@{name}" not in asked.socket.rooms:
            await self.operate(call, join={"rooms": [f"@{name}"]})
        self.send(done={"call": call})

    async def event(self, call, asked):
        handler = {"join": self.join, "say": self.say, "whisper": self.whisper}[asked.event.name]
        try:
            outcome = await handler(call, asked.socket, *json.loads(asked.event.args or "[]"))
        except RuntimeError as failed:
            outcome = refuse(*str(failed).split(": ", 1))
        except Exception as wrong:  # Whatever a client sent, its call is answered.
            outcome = refuse("invalid", str(wrong))
        self.send(done={"call": call, **outcome})

    async def join(self, call, socket, room):
        if room.startswith("@"):
            return refuse("forbidden", "rooms with @ are mailboxes")
        return answer(ok=True, offset=await self.operate(call, join={"rooms": [room]}))

    async def say(self, call, socket, line, key):
        if line["room"].startswith("@"):
            return refuse("forbidden", "whisper to one person")
        line = {**line, "nick": identities[socket]}  # Nobody speaks for somebody else.
        emit = {"target": {"rooms": [line["room"]]}, "event": event("chat", line), "key": key}
        return answer(ok=True, offset=await self.operate(call, emit=emit))

    async def whisper(self, call, socket, name, text):
        said = event("whisper", {"from": identities[socket], "text": text})
        offset = await self.operate(call, emit={"target": {"rooms": [f"@{name}"]}, "event": said})
        return answer(ok=True, offset=offset)

    async def serve(self, node):
        async def outgoing():
            while True:
                yield await self.outgoing.get()

        async with grpc.aio.insecure_channel(node) as channel:
            async for message in door.BackendStub(channel).Serve(outgoing()):
                kind = message.WhichOneof("message")
                asked = getattr(message, kind)
                if kind == "welcome":
                    print(f"chat.py: serving {NAMESPACE} through node {asked.node_id}", flush=True)
                elif kind == "result":
                    self.results.pop(asked.number).set_result(asked)
                elif kind == "admit":
                    self.admit(message.call, asked)
                elif kind in ("connected", "event"):
                    asyncio.create_task(getattr(self, kind)(message.call, asked))
                else:  # disconnected, expired
                    identities.pop(asked.socket, None)
                    self.send(done={"call": message.call})


async def main(nodes):
    for node in itertools.cycle(nodes):
        try:
            await Chat().serve(node)
        except grpc.aio.AioRpcError as error:
            print(f"chat.py: {node}: {error.code().name} {error.details()}", flush=True)
        await asyncio.sleep(0.5)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:] or ["127.0.0.1:4001"]))
