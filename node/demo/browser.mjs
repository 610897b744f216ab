// What the scripts that play the demo share: a cluster of its own, headless Chromium, its windows.
//
// Chromium is Debian's (package chromium) or CHROMIUM=path; it is driven over its debugging port
// with `ws`, which comes with socket.io-client.

import { spawn } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import WebSocket from "ws";

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

export const pause = (ms) => new Promise((done) => setTimeout(done, ms));

export async function until(what, probe, limitMs = WAIT_MS) {
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
export async function startCluster(bin) {
  for (let left = START_TRIES; left > 0; left -= 1) {
    const directory = mkdtempSync(join(tmpdir(), "roomcast-page-"));
    const port = PORTS_FROM + Math.floor(Math.random() * PORTS_SPAN);
    const flags = ["dev", "--port", port, "--data-dir", directory, "--page-dir", "."].map(String);
    const log = openSync(join(directory, "dev.log"), "w");
    const child = spawn(bin, flags, { stdio: ["ignore", log, log] });
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
export async function startChromium() {
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
export async function connect(address) {
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

export async function openWindow(chromium, size, url, dark = false) {
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
  const scheme = { name: "prefers-color-scheme", value: dark ? "dark" : "light" };
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
