"""Drives any number of python-socketio clients in one process.

Commands come as JSON lines on stdin, reports leave as JSON lines on stdout; the process ends when
stdin does. It speaks as ../client.mjs does; the Rust side is src/stock.rs. Binary arguments travel
as {"$binary": hex}. The clients are the asynchronous ones: those of threads handle each event in a
thread of its own, in no order.
"""

import asyncio
import json
import os
import sys

import socketio

sockets = {}
# asyncio keeps only weak references to its tasks.
tasks = set()


def report(*line):
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def to_json(value):
    if isinstance(value, (bytes, bytearray)):
        return {"$binary": bytes(value).hex()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    return value


def from_json(value):
    if isinstance(value, list):
        return [from_json(item) for item in value]
    if isinstance(value, dict):
        if isinstance(value.get("$binary"), str):
            return bytes.fromhex(value["$binary"])
        return {key: from_json(item) for key, item in value.items()}
    return value


class Socket:
    """One client in one namespace."""

    def __init__(self, command):
        self.number = command["socket"]
        self.namespace = command["namespace"]
        self.url = command["url"] + command["options"].get("query", "")
        self.auth = command["auth"]
        self.transports = command["options"].get("transports", ["websocket"])
        self.client = socketio.AsyncClient(
            reconnection_delay=0.15, reconnection_delay_max=0.6, randomization_factor=0.1
        )
        self.client.on("connect", self.on_connect, namespace=self.namespace)
        self.client.on("disconnect", self.on_disconnect, namespace=self.namespace)
        self.client.on("connect_error", self.on_connect_error, namespace=self.namespace)
        self.client.on("*", self.on_any, namespace=self.namespace)
        # A handler that counts its arguments, as many are written: one more is a TypeError.
        self.client.on("counted", self.on_counted, namespace=self.namespace)

    def on_connect(self):
        report("connected", self.number, self.client.get_sid(self.namespace), False)

    def on_disconnect(self, reason):
        returns = reason != self.client.reason.SERVER_DISCONNECT
        report("disconnected", self.number, reason, returns)

    def on_connect_error(self, data):
        message = data.get("message", "") if isinstance(data, dict) else str(data)
        report("error", self.number, message, True)

    def on_any(self, name, *args):
        args = list(args)
        offset = args.pop() if args and isinstance(args[-1], str) else None
        report("event", self.number, name, to_json(args), offset)

    def on_counted(self, number, text):
        report("event", self.number, "counted", [number, text], None)

    async def open(self):
        await self.client.connect(
            self.url,
            transports=self.transports,
            namespaces=[self.namespace],
            auth=self.auth,
            retry=True,
        )

    async def emit(self, event, args, call, wait):
        data = tuple(from_json(args))
        if call is None:
            await self.client.emit(event, data, namespace=self.namespace)
            return
        try:
            timeout = wait / 1000
            answer = await self.client.call(event, data, self.namespace, timeout)
            report("answer", call, to_json(answer))
        except socketio.exceptions.TimeoutError:
            report("failed", call, "timed out")
        except socketio.exceptions.SocketIOError as error:
            report("failed", call, str(error))

    async def close(self):
        await self.client.disconnect()


def run(command):
    what = command.pop("do")
    if what == "open":
        socket = sockets[command["socket"]] = Socket(command)
        return socket.open()
    socket = sockets[command.pop("socket")]
    if what == "emit":
        wait = command.get("wait")
        return socket.emit(command["event"], command["args"], command["call"], wait)
    # This client has no call that loses its connection and lets it come back: the link does that.
    return {"close": socket.close}[what]()


async def main():
    lines = asyncio.StreamReader(limit=2**24)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        task = loop.create_task(run(json.loads(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    # As the others do: nothing of the clients is waited for.
    os._exit(0)


asyncio.run(main())
