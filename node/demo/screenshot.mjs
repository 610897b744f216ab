// Plays the demo in headless Chromium, checks what the page promises, and takes README's picture.
//
//   node screenshot.mjs --bin PATH | --url http://127.0.0.1:3000 [--out FILE.png] [--kill] [--dark]
//
// With --bin it starts `roomcast dev` by itself on free ports, with data of its own, and ends it.
// Two windows on two nodes talk; then the second one's connection is cut or, with --kill, its
// node's process is killed with SIGKILL (the pid that the page shows: a node of `roomcast dev` on
// this machine). It exits 0 only when both windows then show the same lines in the same order, the
// second one was recovered, and no line was lost, doubled or out of order.
// Chromium is Debian's (package chromium) or CHROMIUM=path; it is driven over its debugging port
// with `ws`, which comes with socket.io-client.

import { spawn } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import WebSocket from "ws";

const { values: options } = parseArgs({
  options: {
    url: { type: "string", default: "http://127.0.0.1:3000" },
    bin: { type: "string" },
    out: { type: "string" },
    kill: { type: "boolean", default: false },
    dark: { type: "boolean", default: false },
  },
});

const WAIT_MS = 20000;
// A debug build that founds a cluster on a busy machine.
const START_MS = 60000;
const LOG_SHOWN = 3000;
// How long a drain may take before it is no longer waited for.
const END_MS = 30000;
// `dev` takes P to P+3, P+1001 to P+1003 and P+2001 to P+2003.
const PORTS_FROM = 20000;
const PORTS_SPAN = 8000;
const START_TRIES = 5;
const WIDE = { width: 1060, height: 720 };
const NARROW = { width: 380, height: 720 };
const TALK = [
  [0, "Morning! Which node did the balancer give you?"],
  [1, "Not yours. There is no sticky session."],
  [0, "And if somebody kills it?"],
  [1, "Try me. I will not miss a line."],
];
const WHILE_AWAY = ["kill -9. Are you there?", "No? I go on talking.", "One more, to be sure."];
const AFTER = [1, "Back, with the same session. I got all three."];

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

async function until(what, probe, limitMs = WAIT_MS) {
  const end = Date.now() + limitMs;
  while (Date.now() < end) {
    const found = await probe();
    if (found) return found;
    await pause(50);
  }
  throw new Error(`waited ${limitMs} ms in vain: ${what}`);
}

async function end(child) {
  const gone = child.exitCode !== null || child.signalCode !== null;
  child.kill("SIGTERM");
  const killer = setTimeout(() => child.kill("SIGKILL"), END_MS);
  if (!gone) await new Promise((done) => child.once("exit", done));
  clearTimeout(killer);
}

// Chromium's helpers outlive it for a moment and go on writing.
async function remove(directory) {
  const removed = () => {
    try {
      rmSync(directory, { recursive: true, force: true });
      return true;
    } catch {
      return false;
    }
  };
  await until(`${directory} can be removed`, removed);
}

// Three nodes and a balancer in a directory of their own; another port when one is taken.
async function startCluster() {
  for (let left = START_TRIES; left > 0; left -= 1) {
    const directory = mkdtempSync(join(tmpdir(), "roomcast-page-"));
    const port = PORTS_FROM + Math.floor(Math.random() * PORTS_SPAN);
    const flags = ["dev", "--port", port, "--data-dir", directory, "--page-dir", "."].map(String);
    const log = openSync(join(directory, "dev.log"), "w");
    const child = spawn(options.bin, flags, { stdio: ["ignore", log, log] });
    closeSync(log);
    const url = `http://127.0.0.1:${port}`;
    const stop = async () => {
      await end(child);
      await remove(directory);
    };
    const ready = async () => {
      if (child.exitCode !== null) return "ended";
      await pause(500);
      const answer = await fetch(`${url}/readyz`).catch(() => null);
      return answer?.ok && "ready";
    };
    const outcome = await until("a ready cluster", ready, START_MS).catch((error) => error.message);
    if (outcome === "ready") return { url, stop };
    const said = readFileSync(join(directory, "dev.log"), "utf8").slice(-LOG_SHOWN);
    await stop();
    const taken = /taken|in use/i.test(said);
    if (!taken) throw new Error(`no cluster on ${url}: ${outcome}\n${said}`);
  }
  throw new Error(`no free ports in ${START_TRIES} tries`);
}

// Chromium with an empty profile; the flags keep it from looking for hosts of its own.
async function startChromium() {
  const profile = mkdtempSync(join(tmpdir(), "roomcast-picture-"));
  const flags = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-background-timer-throttling",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
    `--user-data-dir=${profile}`,
    "about:blank",
  ];
  const child = spawn(process.env.CHROMIUM ?? "chromium", flags, { stdio: "ignore" });
  let failure = null;
  child.on("error", (error) => {
    failure = error;
  });
  const address = await until("chromium's debugging port", () => {
    if (failure) throw new Error(`chromium: ${failure.message} (Debian package chromium)`);
    try {
      const [port, path] = readFileSync(join(profile, "DevToolsActivePort"), "utf8").split("\n");
      return path && `ws://127.0.0.1:${port}${path}`;
    } catch {
      return null;
    }
  });
  const stop = async () => {
    await end(child);
    await remove(profile);
  };
  return { address, stop };
}

// One debugging connection; a window is a session on it.
async function connect(address) {
  const wire = new WebSocket(address, { perMessageDeflate: false });
  await new Promise((done, fail) => wire.once("open", done).once("error", fail));
  const waiting = new Map();
  let last = 0;
  wire.on("message", (data) => {
    const { id, result, error } = JSON.parse(data);
    const promise = waiting.get(id);
    waiting.delete(id);
    if (error) promise?.fail(new Error(error.message));
    else promise?.done(result);
  });
  const call = (method, params = {}, sessionId = undefined) =>
    new Promise((done, fail) => {
      waiting.set((last += 1), { done, fail });
      wire.send(JSON.stringify({ id: last, method, params, sessionId }));
    });
  return { call };
}

async function openWindow(chromium, size, url) {
  // A context of its own is another browser: no shared storage.
  const { browserContextId } = await chromium.call("Target.createBrowserContext");
  const blank = { url: "about:blank", browserContextId };
  const { targetId } = await chromium.call("Target.createTarget", blank);
  const { sessionId } = await chromium.call("Target.attachToTarget", { targetId, flatten: true });
  const call = (method, params) => chromium.call(method, params, sessionId);
  await call("Emulation.setDeviceMetricsOverride", {
    ...size,
    deviceScaleFactor: 1.5,
    mobile: false,
  });
  const scheme = { name: "prefers-color-scheme", value: options.dark ? "dark" : "light" };
  await call("Emulation.setEmulatedMedia", { features: [scheme] });
  const run = async (expression) => {
    const { result, exceptionDetails: thrown } = await call("Runtime.evaluate", {
      expression,
      returnByValue: true,
    });
    if (thrown) throw new Error(thrown.exception?.description ?? thrown.text);
    return result.value;
  };
  const text = (id) => run(`document.getElementById(${JSON.stringify(id)})?.textContent ?? ""`);
  const load = async (address) => {
    await call("Page.navigate", { url: address });
    await until("the page's body", () => run(`location.href !== "about:blank" && !!document.body`));
    if (address.startsWith("data:")) return;
    await until("the page's node", async () => /^Node \d+$/.test(await text("node")));
  };
  await load(url);
  return {
    run,
    text,
    load,
    node: () => text("node"),
    pid: async () => Number(/\d+/.exec(await text("node-pid"))?.[0]),
    lines: () => run("[...document.querySelectorAll('#lines .what')].map((e) => e.textContent)"),
    say: (line) =>
      run(`document.getElementById("say").value = ${JSON.stringify(line)};
      document.getElementById("say-form").requestSubmit()`),
    click: (id) => run(`document.getElementById(${JSON.stringify(id)}).click()`),
    shoot: async () =>
      Buffer.from((await call("Page.captureScreenshot", { format: "png" })).data, "base64"),
  };
}

async function sees(window, line) {
  await until(`a window shows "${line}"`, async () => (await window.lines()).includes(line));
}

// The page asks for the members every two seconds.
async function bothAreMembers(windows) {
  for (const window of windows) {
    await until("two members", async () => (await window.text("member-count")) === "2");
  }
}

// A room of its own, so that an earlier run's lines are not in the picture.
async function play(chromium, url) {
  const room = `tea-${Date.now().toString(36).slice(-4)}`;
  const address = (nick) => `${url}/?nick=${nick}&room=${room}`;
  const ada = await openWindow(chromium, NARROW, address("Ada"));
  const grace = await openWindow(chromium, WIDE, address("Grace"));
  await until("two windows on two nodes", async () => {
    if ((await ada.node()) !== (await grace.node())) return true;
    await grace.load(address("Grace"));
    return false;
  });
  const windows = [ada, grace];
  await bothAreMembers(windows);
  for (const [who, line] of TALK) {
    await windows[who].say(line);
    for (const window of windows) await sees(window, line);
  }
  const before = await grace.node();
  if (options.kill) process.kill(await grace.pid(), "SIGKILL");
  else await grace.click("cut");
  for (const line of WHILE_AWAY) await ada.say(line);
  for (const window of windows) await sees(window, WHILE_AWAY.at(-1));
  await until("the second window's verdict", async () =>
    /^(Recovered|Back)/.test(await grace.text("banner")),
  );
  await windows[AFTER[0]].say(AFTER[1]);
  for (const window of windows) await sees(window, AFTER[1]);
  await bothAreMembers(windows);
  return { ada, grace, before };
}

async function judge({ ada, grace, before }) {
  const [first, second] = [await ada.lines(), await grace.lines()];
  const claims = {
    "both windows show the same lines in the same order": first.join("\n") === second.join("\n"),
    "every line was shown once": first.length === TALK.length + WHILE_AWAY.length + 1,
    "the second window was recovered": (await grace.text("banner")).startsWith("Recovered"),
    "nothing lost, doubled or out of order": (await grace.text("faults")) === "0 · 0 · 0",
  };
  if (options.kill) claims["it came back on another node"] = before !== (await grace.node());
  const broken = Object.entries(claims)
    .filter(([, holds]) => !holds)
    .map(([claim]) => claim);
  for (const claim of broken) console.log(`page: FAILED  ${claim}`);
  console.log(`page: ${await grace.text("banner")}`);
  console.log(
    `page: ${Object.keys(claims).length - broken.length} passed, ${broken.length} failed`,
  );
  return broken.length === 0;
}

const image = (src, { width, height }) => `<img src="${src}" width="${width}" height="${height}"
  style="border-radius:12px;box-shadow:0 6px 24px #0004">`;

// Both windows beside each other on one ground.
async function compose(chromium, shots) {
  const [wide, narrow] = shots.map((png) => `data:image/png;base64,${png.toString("base64")}`);
  const gap = 28;
  const size = { width: WIDE.width + NARROW.width + 3 * gap, height: WIDE.height + 2 * gap };
  const sheet = await openWindow(chromium, size, "data:text/html,<body></body>");
  const ground = options.dark ? "#2a2752" : "#dcd8fb";
  await sheet.run(`document.body.style.cssText =
    "margin:0;display:flex;gap:${gap}px;padding:${gap}px;background:${ground}";
    document.body.innerHTML = ${JSON.stringify(image(wide, WIDE) + image(narrow, NARROW))}`);
  const loaded = "[...document.images].every((image) => image.complete && image.naturalWidth)";
  await until("the pictures", () => sheet.run(loaded));
  return sheet.shoot();
}

async function main() {
  const cluster = options.bin ? await startCluster() : null;
  const url = cluster?.url ?? options.url;
  const browser = await startChromium();
  try {
    const chromium = await connect(browser.address);
    const scene = await play(chromium, url);
    const good = await judge(scene);
    if (options.out) {
      const shots = [await scene.grace.shoot(), await scene.ada.shoot()];
      writeFileSync(options.out, await compose(chromium, shots));
      console.log(`page: picture in ${options.out}`);
    }
    await chromium.call("Browser.close");
    process.exitCode = good ? 0 : 1;
  } finally {
    await browser.stop();
    await cluster?.stop();
  }
}

await main();
