// Drives any number of official Socket.IO clients in one process. Commands come as JSON lines on
// stdin, reports leave as JSON lines on stdout; the process ends when stdin does. The Rust side is
// src/stock.rs. Binary arguments travel as {"$binary": hex}. What an event asks is answered with its
// own arguments.
import { createInterface } from "node:readline";
import { Manager } from "socket.io-client";
import msgpack from "socket.io-msgpack-parser";

const parsers = { msgpack };
const managers = new Map();
const sockets = new Map();
// Those that were made with `retries`: they send again by themselves, at the pace of `ackTimeout`.
const retrying = new Set();

const report = (...line) => process.stdout.write(JSON.stringify(line) + "\n");

const toJson = (value) => {
  if (Buffer.isBuffer(value) || value instanceof Uint8Array) {
    return { $binary: Buffer.from(value).toString("hex") };
  }
  if (value instanceof ArrayBuffer) return { $binary: Buffer.from(value).toString("hex") };
  if (Array.isArray(value)) return value.map(toJson);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, toJson(item)]));
};

const fromJson = (value) => {
  if (Array.isArray(value)) return value.map(fromJson);
  if (value === null || typeof value !== "object") return value;
  if (typeof value.$binary === "string") return Buffer.from(value.$binary, "hex");
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, fromJson(item)]));
};

function managerOf({ manager, url, options }) {
  let known = managers.get(manager);
  if (!known) {
    known = new Manager(url, {
      transports: ["websocket"],
      reconnectionDelay: 150,
      reconnectionDelayMax: 600,
      timeout: 3000,
      autoConnect: false,
      ...options,
      parser: parsers[options.parser],
    });
    managers.set(manager, known);
  }
  return known;
}

function watch(number, socket) {
  socket.on("connect", () => report("connected", number, socket.id, socket.recovered === true));
  socket.on("disconnect", (reason) => report("disconnected", number, reason, socket.active));
  socket.on("connect_error", (error) => report("error", number, error.message, socket.active));
  socket.onAny((name, ...args) => {
    if (typeof args.at(-1) === "function") {
      const answer = args.pop();
      answer(...args);
    }
    const offset = typeof args.at(-1) === "string" ? args.pop() : null;
    report("event", number, name, toJson(args), offset);
  });
}

const commands = {
  open(command) {
    const { retries, ackTimeout } = command.options;
    const options = { auth: command.auth, retries, ackTimeout };
    const socket = managerOf(command).socket(command.namespace, options);
    if (retries) retrying.add(command.socket);
    sockets.set(command.socket, socket);
    watch(command.socket, socket);
    socket.connect();
  },
  emit({ socket, event, args, call, wait }) {
    const target = sockets.get(socket);
    if (call === null) return target.emit(event, ...fromJson(args));
    const timed = retrying.has(socket) ? target : target.timeout(wait);
    return timed.emit(event, ...fromJson(args), (error, answer) => {
      if (error) report("failed", call, error.message);
      else report("answer", call, toJson(answer ?? null));
    });
  },
  cut({ socket }) {
    sockets.get(socket).io.engine?.close();
  },
  close({ socket }) {
    sockets.get(socket).disconnect();
  },
};

const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const command = JSON.parse(line);
  commands[command.do](command);
});
lines.on("close", () => process.exit(0));
