// The demo page's eyes and hands: draws what app.js tells it, and reports what the reader does.
// It owns the document, knows no wire, and writes text as text (never as markup).

const LINES_SHOWN = 500;
const at = (id) => document.getElementById(id);
let shown = null;
let following = true;
let awaySince = null;
let kill = "";

function element(tag, fields = {}, ...children) {
  const made = document.createElement(tag);
  const { dataset, ...rest } = fields;
  Object.assign(made, rest);
  Object.assign(made.dataset, dataset);
  made.append(...children);
  return made;
}

// A colour of its own for each name, the same in every window.
function hue(name) {
  let sum = 7;
  for (const letter of name) sum = (sum * 31 + letter.codePointAt(0)) % 360;
  return sum;
}

function lineElement(line) {
  const who = element("span", { className: "who", textContent: line.nick });
  who.style.setProperty("--hue", hue(String(line.nick)));
  const where = element("span", { className: "where", title: `Offset in the log: ${line.offset}` });
  if (line.how === "replayed")
    where.append(element("span", { className: "mark", textContent: "replayed" }));
  // The epoch, the same for all lines of a log, is left to the title.
  where.append(String(line.offset ?? "").replace(/^[^.]*\./, ""));
  return element(
    "li",
    { dataset: { how: line.how } },
    who,
    element("span", { className: "what", textContent: line.text }),
    where,
  );
}

function noteElement(note) {
  return element("li", { className: "note", dataset: { kind: note.kind }, textContent: note.note });
}

function add(item) {
  const list = at("lines");
  list.querySelector(".empty")?.remove();
  list.append(item);
  while (list.children.length > LINES_SHOWN) list.firstChild.remove();
  if (following) list.scrollTop = list.scrollHeight;
  at("to-end").hidden = following;
}

function status(state, text, since) {
  awaySince = state === "away" ? (since ?? awaySince) : null;
  const pill = at("status");
  pill.dataset.state = state;
  document.body.dataset.state = state;
  if (text) pill.lastElementChild.textContent = text;
  tick();
}

function tick() {
  if (awaySince === null) return;
  const seconds = Math.floor((Date.now() - awaySince) / 1000);
  at("status").lastElementChild.textContent = `Away for ${seconds} s`;
}

function copyKill() {
  const said = at("kill").lastElementChild;
  navigator.clipboard?.writeText(kill).then(
    () => {
      said.textContent = "Copied";
      setTimeout(() => {
        said.textContent = "Copy";
      }, 1500);
    },
    () => {
      said.textContent = "Select it";
    },
  );
}

function roomItem(room, current, act) {
  const openIt = element("button", { type: "button", className: "open", textContent: room.name });
  openIt.onclick = () => act.open(room.name);
  const item = element("li", {}, openIt);
  if (room.name === current) item.setAttribute("aria-current", "true");
  if (room.unread) item.append(element("span", { className: "unread", textContent: room.unread }));
  const away = element("button", { type: "button", className: "leave", textContent: "×" });
  away.setAttribute("aria-label", `Leave ${room.name}`);
  away.onclick = () => act.leave(room.name);
  return { item, away };
}

let actions = null;

export const view = {
  status,

  on(act) {
    actions = act;
    const submit = (form, field, then, keep) =>
      at(form).addEventListener("submit", (event) => {
        event.preventDefault();
        const text = at(field).value.trim();
        if (!text) return;
        then(text);
        if (keep) at(field).blur();
        else at(field).value = "";
      });
    submit("join-form", "join-room", act.join);
    submit("say-form", "say", (text) => {
      view.follow();
      act.say(text);
    });
    submit("nick-form", "nick", act.rename, true);
    at("nick").addEventListener("change", () => at("nick-form").requestSubmit());
    at("cut").onclick = act.cut;
    at("cut-long").onclick = act.cutLong;
    at("ticker").onclick = act.toggleTicker;
    at("kill").onclick = copyKill;
    at("to-end").onclick = () => view.follow();
    at("lines").addEventListener(
      "scroll",
      () => {
        const list = at("lines");
        following = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
        if (following) at("to-end").hidden = true;
      },
      { passive: true },
    );
    setInterval(tick, 500);
  },

  follow() {
    following = true;
    const list = at("lines");
    list.scrollTop = list.scrollHeight;
    at("to-end").hidden = true;
  },

  banner(kind, text) {
    const banner = at("banner");
    banner.hidden = !kind;
    if (!kind) return;
    banner.dataset.kind = kind;
    banner.textContent = text;
  },

  node(id, pid) {
    at("node").textContent = `Node ${id}`;
    at("node-pid").textContent = pid ? `process ${pid}` : "";
    kill = `kill -9 ${pid}`;
    at("kill").firstElementChild.textContent = kill;
  },

  // What the link to a second window asks for.
  second(query) {
    at("second").href = `/?${new URLSearchParams(query)}`;
  },

  nick(name) {
    at("nick").value = name;
  },

  rooms(rooms, current) {
    at("rooms").replaceChildren(
      ...[...rooms.values()].map((room) => {
        const { item, away } = roomItem(room, current, actions);
        // The last room stays: there is nothing to look at without one.
        if (rooms.size > 1) item.append(away);
        return item;
      }),
    );
  },

  open(room) {
    shown = room;
    following = true;
    at("say").placeholder = `Say something in ${room.name}`;
    const empty = element("li", {
      className: "empty",
      textContent: "Nothing has been said here yet.",
    });
    const items = room.lines.map((line) => (line.note ? noteElement(line) : lineElement(line)));
    at("lines").replaceChildren(...(items.length ? items : [empty]));
    view.follow();
  },

  line(room, line) {
    if (room === shown) add(lineElement(line));
  },

  note(room, kind, text) {
    room.lines.push({ note: text, kind });
    if (room === shown) add(noteElement({ note: text, kind }));
  },

  members(members, count, ownId) {
    const order = (member) => (member.state === "away" ? 1 : 0);
    const name = (member) => String(member.identity ?? member.id.slice(0, 6));
    const sorted = [...members].sort(
      (a, b) => order(a) - order(b) || name(a).localeCompare(name(b)),
    );
    at("member-count").textContent = count;
    at("members").replaceChildren(
      ...sorted.map((member) => {
        const note = member.state === "away" ? "away" : member.id === ownId ? "you" : "";
        return element(
          "li",
          { dataset: { state: member.state } },
          element("i"),
          element("span", { className: "name", textContent: name(member) }),
          element("small", { textContent: note }),
        );
      }),
    );
  },

  totals(totals) {
    at("events").textContent = totals.events;
    at("replayed").textContent = totals.replayed;
    at("offset").textContent = totals.offset || "–";
    const faults = [totals.lost, totals.doubled, totals.disordered];
    at("faults").textContent = faults.join(" · ");
    at("faults").className = faults.some(Boolean) ? "bad" : "good";
  },

  pending(count, away) {
    const still = away ? ", kept until the connection is back" : "…";
    const text = `${count} line${count === 1 ? "" : "s"} on the way${still}`;
    at("pending").className = count ? "waiting" : "";
    at("pending").textContent = count ? text : "Your line appears when it comes back from the log.";
  },

  ticking(on) {
    at("ticker").setAttribute("aria-pressed", on);
    at("ticker").textContent = on ? "Stop the numbered lines" : "Write numbered lines";
  },
};
