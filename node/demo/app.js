// The demo page's wire side: the official Socket.IO client, used as its documentation says, and the
// `pubsub` events join, leave, publish, members and history. What is shown is view.js's business.
//
// The last argument of every event is its offset: a position in the cluster's log, opaque text. The
// client keeps it by itself and brings it back when it reconnects; this page only shows it.
//
// With `?namespace=/chat` it is served by a program of its own (`make example`), which takes lines as
// `say`, and private ones as `whisper`.

import { checker } from "./checker.js";
import { view } from "./view.js";

const LINES_KEPT = 500;
const HISTORY_AT_JOIN = 30;
const QUEUE_MAX = 50;
const ANSWER_MS = 6000;
const MEMBERS_EVERY_MS = 2000;
const TICK_MS = 500;
const CUT_LONG_MS = 10000;
const RECONNECT_MS = 400;
const RECONNECT_MAX_MS = 2000;
const RECONNECT_SPREAD = 0.5;
// Refusals that pass by themselves, and an outcome nobody knows: sent again with the same key,
// a line is in the log once however often it was sent.
const RETRY = ["unavailable", "unknown_outcome", "overloaded", "rate_limited", "timeout"];

const wanted = new URLSearchParams(location.search);
const namespace = wanted.get("namespace") ?? "/";
const WHISPER = /^@(\S+)\s+(.+)$/;
// Names this window among all senders; the line's number in a room shows the readers every gap.
const sender = Math.random().toString(36).slice(2, 10);

let socket = null;
let nick = wanted.get("nick") || sessionStorage.getItem("nick") || guestName();
let node = null;
let current = wanted.get("room") || "lobby";
let sending = false;
let ticker = null;
let ticks = 0;
// The absence in progress: since when, why, from which node. Null while connected.
let absence = null;
// A return in progress: whether recovered, the replayed lines so far. Null once all rooms answered.
let homecoming = null;

const rooms = new Map();
// Lines of this window in each room so far; kept when a room is left: numbers never start again.
const sentIn = new Map();
let keys = 0;
const queue = [];
const totals = { events: 0, replayed: 0, offset: "", lost: 0, doubled: 0, disordered: 0 };

function guestName() {
  const names = ["Ada", "Grace", "Barbara", "Edsger", "Leslie", "Radia", "Alan", "Frances", "Tony"];
  return names[Math.floor(Math.random() * names.length)] + Math.floor(Math.random() * 90 + 10);
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// One request with an answer. Undefined when the connection went away first: the caller decides.
async function ask(event, ...args) {
  try {
    return await socket.timeout(ANSWER_MS).emitWithAck(event, ...args);
  } catch {
    return undefined;
  }
}

// Asks on this connection until there is an answer other than one that passes by itself.
async function insist(event, ...args) {
  const asked = socket.io.engine;
  for (;;) {
    const answer = await ask(event, ...args);
    if (answer && !RETRY.includes(answer.error?.code)) return answer;
    if (!socket.connected || socket.io.engine !== asked) return undefined;
    await pause(300);
  }
}

function connect() {
  socket = io(namespace, {
    // `?transports=polling` and `?transports=polling,websocket` show the others.
    transports: (wanted.get("transports") ?? "websocket").split(","),
    // In development mode the identity is what the client says; in production a token proves it.
    auth: { identity: nick },
    reconnectionDelay: RECONNECT_MS,
    reconnectionDelayMax: RECONNECT_MAX_MS,
    forceNew: true,
  });
  socket.on("connect", onConnect);
  socket.on("disconnect", onDisconnect);
  socket.on("connect_error", onConnectError);
  socket.on("chat", onChat);
  socket.on("whisper", ({ from, text }) => view.note(rooms.get(current), "good", `${from}: ${text}`));
}

// A refusal by the server is final for the stock client; whatever else is wrong, it tries again.
function onConnectError(error) {
  if (!socket.active) {
    view.status("failed", "Refused");
    view.banner("bad", `The server refused the connection: ${error.message}`);
  } else if (absence) {
    view.status("away", null);
  } else {
    view.status("connecting", `No node answers (${error.message}); trying again`);
  }
}

function onConnect() {
  socket.io.reconnectionDelay(RECONNECT_MS);
  socket.io.reconnectionDelayMax(RECONNECT_MAX_MS);
  socket.io.randomizationFactor(RECONNECT_SPREAD);
  const placed = findNode();
  homecoming = {
    recovered: socket.recovered,
    after: absence,
    lines: 0,
    waiting: rooms.size,
    placed,
  };
  absence = null;
  for (const room of rooms.values()) enter(room, socket.recovered);
}

async function findNode() {
  view.status("live", "Connected");
  const answer = await ask("whereami");
  if (!answer?.node) return;
  node = answer.node;
  view.node(answer.node, answer.pid);
  const { engine } = socket.io;
  showWhere(engine);
  engine.once("upgrade", () => showWhere(engine));
}

// WebSocket is what everybody expects: only the other transport is named.
function showWhere(engine) {
  if (absence || engine !== socket.io.engine) return;
  const transport = engine.transport.name;
  const over = transport === "websocket" ? "" : ` over ${transport}`;
  view.status("live", `Connected to node ${node}${over}`);
}

// Joins on every connect, the recovered ones too, where the room is still joined: the answer stands
// at its position in this socket's stream, so whatever came before it is what was replayed.
async function enter(room, recovered) {
  const back = homecoming;
  if (!recovered) room.held ??= [];
  const answer = await insist("join", room.name);
  // Without an answer the connection is gone, and the next connect enters again.
  if (!answer) return;
  if (back && back === homecoming && --back.waiting === 0) arrived(back);
  if (rooms.get(room.name) !== room) return;
  if (!answer.ok) view.note(room, "bad", `Joining ${room.name} was refused: ${answer.error?.code}`);
  else if (room.held) await readHistory(room);
  if (room.name === current) showMembers();
}

// Fills a room in which this session is new: the last lines at the first join; after a session was
// lost, everything since the last line seen. Lines that come in meanwhile are held and follow.
async function readHistory(room) {
  let where = room.offset ? { after: room.offset } : { last: HISTORY_AT_JOIN };
  for (let more = true; more;) {
    const page = await insist("history", room.name, where);
    if (!page) return;
    if (!page.ok) break;
    if (where.after && !page.complete)
      view.note(room, "bad", "Some lines are older than what is kept");
    for (const event of page.events) {
      if (event.event === "chat") take(room, event.args[0], event.offset, "history");
    }
    more = page.more && Boolean(where.after);
    where = { after: page.offset };
  }
  const held = room.held ?? [];
  room.held = null;
  for (const [body, offset] of held) {
    if (!room.seen.has(offset)) take(room, body, offset, "live");
  }
}

// All rooms have answered: says how the absence ended.
async function arrived(back) {
  homecoming = null;
  if (!back.after) return;
  const seconds = ((Date.now() - back.after.since) / 1000).toFixed(1);
  await back.placed;
  const missed = `${back.lines} missed line${back.lines === 1 ? "" : "s"}`;
  const other = node !== back.after.node;
  const moved = other ? `on node ${node}, from node ${back.after.node}` : "on the same node";
  const text = back.recovered
    ? `Recovered ${moved} after ${seconds} s: ${missed} replayed`
    : `Back ${moved} after ${seconds} s with a new session: the old one could not be resumed`;
  const kind = back.recovered ? "good" : "bad";
  view.banner(kind, text);
  for (const room of rooms.values()) view.note(room, kind, text);
}

function onDisconnect(reason) {
  if (reason === "io client disconnect") return;
  homecoming = null;
  if (!socket.active) {
    view.status("failed", "Disconnected by the server");
    view.banner("bad", "The server ended this session. Reload the page for a new one.");
    return;
  }
  absence ??= { since: Date.now(), node };
  view.status("away", null, absence.since);
  view.banner(
    "away",
    `Connection to node ${node ?? "?"} lost (${reason}). The client comes back by itself.`,
  );
  for (const room of rooms.values()) view.note(room, "away", `Connection lost: ${reason}`);
}

function onChat(body, offset) {
  totals.events += 1;
  totals.offset = offset ?? "";
  const room = rooms.get(body?.room);
  if (!room) {
    view.totals(totals);
    return;
  }
  if (room.held) {
    room.held.push([body, offset]);
    return;
  }
  const replayed = homecoming?.recovered && homecoming.after;
  if (replayed) {
    homecoming.lines += 1;
    totals.replayed += 1;
  }
  take(room, body, offset, replayed ? "replayed" : "live");
}

// One line into its room, once; how it came is one of live, replayed, history.
function take(room, body, offset, how) {
  const fault = room.check(body, room.seen.has(offset));
  if (fault) totals[fault.kind] += fault.count;
  view.totals(totals);
  if (room.seen.has(offset)) return;
  room.seen.add(offset);
  room.offset = offset;
  room.lines.push({ ...body, offset, how });
  if (room.lines.length > LINES_KEPT) room.seen.delete(room.lines.shift().offset);
  view.line(room, room.lines.at(-1));
  if (room.name === current || how === "history") return;
  room.unread += 1;
  view.rooms(rooms, current);
}

function join(name) {
  if (!rooms.has(name)) {
    const room = { name, lines: [], seen: new Set(), unread: 0, offset: "", held: [] };
    room.check = checker();
    rooms.set(name, room);
    if (socket?.connected) {
      if (homecoming) homecoming.waiting += 1;
      enter(room, false);
    }
  }
  open(name);
}

async function leave(name) {
  rooms.delete(name);
  if (current === name) open(rooms.keys().next().value);
  view.rooms(rooms, current);
  if (socket.connected) await ask("leave", name);
}

function open(name) {
  current = name;
  rooms.get(name).unread = 0;
  view.rooms(rooms, current);
  view.open(rooms.get(name));
  showMembers();
}

async function showMembers() {
  const name = current;
  if (!socket?.connected) return;
  const answer = await ask("members", name, { away: true, limit: 100 });
  if (answer?.ok && name === current) view.members(answer.members, answer.count, socket.id);
}

function say(text) {
  const whispered = namespace !== "/" && WHISPER.exec(text);
  if (whispered) return whisper(whispered[1], whispered[2]);
  if (queue.length >= QUEUE_MAX) return;
  queue.push({ key: `${sender}-${(keys += 1)}`, body: { room: current, nick, text, sender } });
  send();
}

// One line at a time, so that a retry cannot overtake: the same key again until the log has it.
async function send() {
  if (sending) return;
  sending = true;
  while (queue.length > 0) {
    const { key, body } = queue[0];
    body.seq ??= (sentIn.get(body.room) ?? 0) + 1;
    view.pending(queue.length, Boolean(absence));
    if (!socket.connected) {
      await pause(100);
      continue;
    }
    const answer = await write(body, key);
    const code = answer?.error?.code;
    if (answer?.ok || (code && !RETRY.includes(code))) {
      queue.shift();
      if (answer.ok) sentIn.set(body.room, body.seq);
      else refused(body, answer.error);
    } else {
      await pause(300);
    }
  }
  sending = false;
  view.pending(0, false);
}

function write(body, key) {
  if (namespace !== "/") return ask("say", body, key);
  return ask("publish", { rooms: [body.room], key }, "chat", body);
}

async function whisper(name, text) {
  const room = rooms.get(current);
  const answer = await ask("whisper", name, text);
  if (answer?.ok) view.note(room, "good", `to ${name}: ${text}`);
  else view.note(room, "bad", `${name} was not told: ${answer?.error?.message ?? "no answer"}`);
}

function refused(body, error) {
  const room = rooms.get(body.room);
  const why = error.message ?? error.code;
  if (room) view.note(room, "bad", `“${body.text.slice(0, 40)}” was not written: ${why}`);
}

// The transport is closed without a word to the server: what a lost network looks like.
function cut(awayMs) {
  if (!socket.connected) return;
  if (awayMs) {
    socket.io.randomizationFactor(0);
    socket.io.reconnectionDelayMax(awayMs);
    socket.io.reconnectionDelay(awayMs);
  }
  socket.io.engine.close();
}

function rename(name) {
  if (name === nick) return;
  nick = name;
  sessionStorage.setItem("nick", nick);
  // Another identity is another session: the old one leaves at once.
  socket.disconnect();
  absence = null;
  view.banner(null);
  connect();
}

function toggleTicker() {
  clearInterval(ticker);
  ticker = ticker ? null : setInterval(() => say(`number ${(ticks += 1)}`), TICK_MS);
  view.ticking(Boolean(ticker));
}

function start() {
  const cuts = { cut: () => cut(0), cutLong: () => cut(CUT_LONG_MS) };
  view.on({ join, leave, open, say, rename, toggleTicker, ...cuts });
  view.nick(nick);
  const kept = ["transports", "namespace"].filter((name) => wanted.has(name));
  view.second(Object.fromEntries(kept.map((name) => [name, wanted.get(name)])));
  sessionStorage.setItem("nick", nick);
  if (typeof io !== "function") {
    view.status("failed", "The Socket.IO client is not installed");
    view.banner(
      "bad",
      "The server found no /demo/socket.io.js: run `make run`, or `npm ci` in node/demo.",
    );
    return;
  }
  join(current);
  connect();
  setInterval(showMembers, MEMBERS_EVERY_MS);
  // A closed window leaves at once instead of being awaited for the resume window.
  addEventListener("pagehide", () => socket.disconnect());
  addEventListener("pageshow", (event) => event.persisted && socket.connect());
}

start();
