// The live stream as a page sees it: who it is by a first frame, where it was by a cursor, and patience between attempts.
"use strict";
(() => {
  const show = (id, text) => { document.getElementById(id).textContent = text; };
  const MOST_ROWS = 500;
  let token = "", socket = null, cursor = null, pause = 1000, timer = null;
  const counts = { events: 0, connections: 0, lost: 0 };

  document.getElementById("form").addEventListener("submit", (event) => {
    event.preventDefault();
    token = document.getElementById("token").value.trim();
    if (socket) { socket.onclose = null; socket.close(); }
    clearTimeout(timer);
    cursor = null;
    connect();
  });

  function connect() {
    show("state", "connecting");
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    socket = new WebSocket(`${scheme}//${location.host}/ws`);
    socket.onopen = () => socket.send(JSON.stringify({ type: "AUTH", token, subscribe: false }));
    socket.onmessage = (message) => hear(JSON.parse(message.data));
    socket.onclose = (close) => {
      if (close.code === 4401) { show("state", "not authorised"); return; }
      // Double the pause each time, with jitter, so that those who were cut off together do not come back together
      const wait = pause / 2 + Math.random() * (pause / 2);
      pause = Math.min(pause * 2, 30000);
      show("state", `disconnected (${close.code}), again in ${Math.ceil(wait / 1000)} s`);
      timer = setTimeout(connect, wait);
    };
  }

  function hear(frame) {
    switch (frame.type) {
      case "AUTH_OK": {
        counts.connections += 1;
        show("connections", counts.connections);
        const wish = { type: "SUBSCRIBE", allow_gap: true };
        if (cursor) wish.since = cursor;
        socket.send(JSON.stringify(wish));
        break;
      }
      case "SUBSCRIBED":
        pause = 1000;
        show("state", `connected, ${frame.agent_ids === null ? "everything visible" : "agents " + frame.agent_ids}`);
        move(frame.cursor);
        break;
      case "HEARTBEAT":
        if (frame.cursor) move(frame.cursor);
        break;
      case "GAP":
        row(`${frame.from_seq}–${frame.to_seq}`, frame.timestamp, "", "GAP", frame.reason);
        move(frame.cursor);
        break;
      case "ERROR":
        row("", frame.timestamp, "", "ERROR", `${frame.code}: ${frame.message}`);
        break;
      default: {
        // Nothing was lost exactly when `prev` is what we saw last
        if (cursor !== `${frame.epoch}:${frame.prev}`) { counts.lost += 1; show("lost", counts.lost); }
        counts.events += 1;
        show("count", counts.events);
        const what = frame.event || frame.state || frame.severity || "";
        row(frame.seq, frame.timestamp, frame.agent_id ?? "", `${frame.type} ${what}`, JSON.stringify(frame.data));
        move(`${frame.epoch}:${frame.seq}`);
      }
    }
  }

  function move(to) { cursor = to; show("cursor", to); }

  function row(...cells) {
    const line = document.createElement("tr");
    for (const text of cells) {
      const cell = document.createElement("td");
      cell.textContent = text;
      line.append(cell);
    }
    const events = document.getElementById("events");
    events.prepend(line);
    while (events.childElementCount > MOST_ROWS) events.lastElementChild.remove();
  }

  // Only now does the button do anything
  document.getElementById("connect").disabled = false;
  show("state", "not connected");
})();
