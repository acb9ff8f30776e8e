"use strict";

function sortRows(table, column, ascending) {
  const body = table.tBodies[0];
  const key = (row) => row.cells[column].dataset.value;
  const rows = Array.from(body.rows);
  const numeric = rows.every((row) => key(row) === "" || !Number.isNaN(Number(key(row))));
  rows.sort((first, second) => {
    const [a, b] = [key(first), key(second)];
    if (a === "" || b === "") return (a === "") - (b === "");
    const order = numeric ? Number(a) - Number(b) : a.localeCompare(b);
    return ascending ? order : -order;
  });
  body.append(...rows);
}

function makeSortable(table) {
  const heads = Array.from(table.tHead.rows[0].cells);
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const ascending = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      sortRows(table, column, ascending);
    });
  });
}

const CHART = { width: 960, left: 44, fleetTop: 6, fleetHeight: 92, loadTop: 110, loadHeight: 62, height: 196 };

function shape(name, attributes, parent) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (parent) parent.append(node);
  return node;
}

function label(parent, x, y, content, anchor) {
  shape("text", { x, y, "text-anchor": anchor }, parent).textContent = content;
}

class DayViewer {
  constructor(data) {
    this.data = data;
    this.byId = (name) => document.getElementById("viewer-" + name);
    for (const trace of Object.keys(data.days)) this.byId("trace").append(new Option(trace, trace));
    this.byId("trace").addEventListener("change", () => this.choose());
    this.byId("time").addEventListener("input", () => this.show());
    this.byId("back").addEventListener("click", () => this.step(-1));
    this.byId("on").addEventListener("click", () => this.step(1));
    this.byId("play").addEventListener("click", () => this.toggle());
    document.getElementById("viewer").hidden = false;
    this.choose();
  }

  choose() {
    this.day = this.data.days[this.byId("trace").value];
    this.steps = this.day.demand_rps.length;
    const stages = ["on_demand", "spot", "pending", "draining"];
    const policies = Object.values(this.day.policies);
    const sizes = policies.flatMap((one) => one.on_demand.map((_, at) => stages.reduce((sum, name) => sum + one[name][at], 0)));
    this.instances = Math.max(1, ...sizes);
    this.rps = Math.max(1, ...this.day.demand_rps, ...policies.flatMap((one) => one.capacity_rps));
    this.byId("time").max = this.steps - 1;
    this.byId("time").value = Math.min(this.byId("time").value, this.steps - 1);
    this.cursors = [];
    this.byId("charts").replaceChildren(...Object.entries(this.day.policies).map(([name, one]) => this.chart(name, one, stages)));
    this.show();
  }

  x(at) {
    return CHART.left + ((CHART.width - CHART.left - 4) * (at + 1)) / this.steps;
  }

  chart(name, one, stages) {
    const box = document.createElement("div");
    box.className = "chart";
    const title = document.createElement("h3");
    title.textContent = name;
    const svg = shape("svg", { viewBox: `0 0 ${CHART.width} ${CHART.height}`, role: "img", "aria-label": `Instances, and demand against capacity, of ${name}; the table below has the figures` });
    const height = (count) => CHART.fleetTop + CHART.fleetHeight * (1 - count / this.instances);
    const level = (rps) => CHART.loadTop + CHART.loadHeight * (1 - rps / this.rps);
    let floor = one.on_demand.map(() => 0);
    for (const stage of stages) {
      const top = floor.map((count, at) => count + one[stage][at]);
      const steps = (counts, at) => `${this.x(at - 1)},${height(counts[at])} ${this.x(at)},${height(counts[at])}`;
      const forth = top.map((_, at) => steps(top, at));
      const back = floor.map((_, at) => steps(floor, at).split(" ").reverse().join(" ")).reverse();
      shape("polygon", { class: stage, points: [...forth, ...back].join(" ") }, svg);
      floor = top;
    }
    const line = (values) => values.map((value, at) => `${this.x(at)},${level(value)}`).join(" ");
    shape("polyline", { class: "capacity", points: line(one.capacity_rps) }, svg);
    shape("polyline", { class: "demand", points: line(this.day.demand_rps) }, svg);
    one.bad_minutes.forEach((bad, at) => {
      if (bad > 0) shape("line", { class: "bad", x1: this.x(at), x2: this.x(at), y1: CHART.loadTop + CHART.loadHeight, y2: CHART.loadTop + CHART.loadHeight - 10 }, svg);
    });
    this.axes(svg);
    this.cursors.push(shape("line", { class: "cursor", y1: 0, y2: CHART.loadTop + CHART.loadHeight }, svg));
    svg.addEventListener("click", (event) => {
      const place = ((event.clientX - svg.getBoundingClientRect().left) / svg.clientWidth) * CHART.width;
      this.move(Math.round(((place - CHART.left) / (CHART.width - CHART.left - 4)) * this.steps) - 1);
    });
    box.append(title, svg);
    return box;
  }

  axes(svg) {
    const bottom = CHART.loadTop + CHART.loadHeight;
    for (const y of [CHART.fleetTop + CHART.fleetHeight, bottom]) {
      shape("line", { class: "axis", x1: CHART.left, x2: CHART.width - 4, y1: y, y2: y }, svg);
    }
    label(svg, CHART.left - 4, CHART.fleetTop + 9, this.instances, "end");
    label(svg, CHART.left - 4, CHART.loadTop + 9, Math.round(this.rps), "end");
    label(svg, CHART.left - 4, bottom, "rps", "end");
    label(svg, CHART.left - 4, CHART.fleetTop + CHART.fleetHeight, "inst.", "end");
    for (let hour = 0; hour <= 24; hour += 3) {
      const at = (hour * 60) / this.data.minutes - 1;
      if (at < this.steps) label(svg, this.x(at), CHART.height - 8, this.clock(at).slice(-5), hour === 24 ? "end" : "middle");
    }
  }

  clock(at) {
    const minute = (this.day.minute_of_week + at * this.data.minutes) % 10080;
    const weekday = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"][Math.floor(minute / 1440)] ?? "Sun";
    const pad = (value) => String(value).padStart(2, "0");
    const ofDay = ((minute % 1440) + 1440) % 1440;
    return `${weekday} ${pad(Math.floor(ofDay / 60))}:${pad(ofDay % 60)}`;
  }

  show() {
    const at = Number(this.byId("time").value);
    this.byId("clock").textContent = this.clock(at);
    this.byId("time").setAttribute("aria-valuetext", this.clock(at));
    for (const cursor of this.cursors) {
      cursor.setAttribute("x1", this.x(at));
      cursor.setAttribute("x2", this.x(at));
    }
    const rows = Object.entries(this.day.policies).map(([name, one]) => this.row(name, one, at));
    this.byId("now").tBodies[0].replaceChildren(...rows);
  }

  row(name, one, at) {
    const row = document.createElement("tr");
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = name;
    row.append(head);
    const sum = (values) => values.slice(0, at + 1).reduce((total, value) => total + value, 0);
    const words = [`${this.data.specifications[one.spec[at]]}, ${one.spot_percent[at]} % spot`, this.data.scaling[one.policy[at]]];
    const reference = this.day.reference_usd[at];
    const over = reference > 0 ? ` (${(one.usd[at] / reference).toFixed(3)})` : "";
    const figures = [
      one.on_demand[at],
      one.spot[at],
      one.pending[at],
      one.draining[at],
      `${this.day.demand_rps[at].toFixed(0)} / ${one.capacity_rps[at]}`,
      sum(one.bad_minutes),
      sum(one.interruptions),
      one.usd[at].toFixed(2) + over,
    ];
    [...words, ...figures].forEach((content, position) => {
      const cell = row.insertCell();
      cell.textContent = content;
      if (position >= words.length) cell.className = "number";
    });
    return row;
  }

  move(at) {
    this.byId("time").value = Math.max(0, Math.min(this.steps - 1, at));
    this.show();
  }

  step(by) {
    this.move(Number(this.byId("time").value) + by);
  }

  toggle() {
    const button = this.byId("play");
    const playing = button.getAttribute("aria-pressed") === "true";
    clearInterval(this.timer);
    if (!playing) {
      if (Number(this.byId("time").value) >= this.steps - 1) this.move(0);
      this.timer = setInterval(() => {
        this.step(1);
        if (Number(this.byId("time").value) >= this.steps - 1) this.toggle();
      }, 60);
    }
    button.setAttribute("aria-pressed", String(!playing));
    button.textContent = playing ? "Play" : "Pause";
  }
}

document.querySelectorAll("table.sortable").forEach(makeSortable);
const days = document.getElementById("days");
if (days) new DayViewer(JSON.parse(days.textContent));
window.addEventListener("beforeprint", () => {
  document.querySelectorAll("details").forEach((item) => { item.open = true; });
});
