// What both views draw: states in groups of one colour, points that stand still, readouts.

const AXES = ["x", "y", "z"];
const STEPS = "Viridis";
const UNKNOWN_COLOUR = "#8a919e";

// Colour of a class: on a dark ground a little lighter.
function classColour(data, place) {
  const own = data.classes.colours[place] ?? UNKNOWN_COLOUR;
  if (!isDark()) return own;
  const parts = [1, 3, 5].map((i) => Number.parseInt(own.slice(i, i + 2), 16));
  return `rgb(${parts.map((v) => Math.round(v + 0.3 * (255 - v))).join(", ")})`;
}

// Hover text of a state.
function aboutState(data, marks, i) {
  const name = (list) => data.classes.names[list[i]] ?? "unknown";
  const lines = [`step ${marks.step[i]} of sequence ${marks.sequence[i]}`];
  if (marks.token) {
    const word = data.words[marks.token[i]];
    lines.unshift(data.named ? `after “${word}”` : `after token ${word}`);
  }
  if (marks.label) lines.push(`label ${name(marks.label)}`);
  if (marks.predicted) lines.push(`predicted ${name(marks.predicted)}`);
  return lines.map(plain).join("<br>");
}

// Indices of states by class, in the order of the classes; those of no class last.
function byClass(data, classes, count) {
  const groups = data.classes.names.map((name, i) => {
    return { name, colour: classColour(data, i), index: [] };
  });
  const rest = { name: "unknown", colour: classColour(data, -1), index: [] };
  for (let i = 0; i < count; i++) (groups[classes[i]] ?? rest).index.push(i);
  return [...groups, rest].filter((group) => group.index.length);
}

function columns(marks, index, axes, names = AXES) {
  const out = {};
  axes.forEach((axis, k) => {
    const values = marks[AXES[axis]];
    out[names[k]] = index ? index.map((i) => values[i]) : values;
  });
  return out;
}

function stateTraces(data, view, look) {
  const marks = data.visited;
  const every = marks.x.map((_, i) => aboutState(data, marks, i));
  const common = { mode: "markers", hoverinfo: "text", type: look.cloud };
  if (view.colour === "step") {
    const bar = { title: { text: "step" }, thickness: 10, len: 0.7, outlinewidth: 0 };
    const marker = { color: marks.step, colorscale: STEPS, colorbar: bar, size: look.size };
    return [
      {
        ...common,
        ...columns(marks, null, look.axes),
        name: "visited states",
        hovertext: every,
        marker: { ...marker, opacity: 0.7 },
        customdata: marks.sequence,
      },
    ];
  }
  const classes = marks[view.colour];
  const groups = classes
    ? byClass(data, classes, marks.x.length)
    : [{ name: "visited states", colour: colour("--accent"), index: marks.x.map((_, i) => i) }];
  return groups.map((group) => ({
    ...common,
    ...columns(marks, group.index, look.axes),
    name: plain(group.name),
    hovertext: group.index.map((i) => every[i]),
    marker: { color: group.colour, size: look.size, opacity: look.opacity },
    customdata: group.index.map((i) => marks.sequence[i]),
  }));
}

// Where no class colours a mark; steps have colours of their own beside it.
const noClass = (view) => colour(view.colour === "step" ? "--muted" : "--accent");

function finalTrace(data, view, look) {
  const marks = data.final;
  const classes = view.colour === "step" ? null : marks[view.colour];
  return {
    ...columns(marks, null, look.axes),
    type: look.cloud,
    mode: "markers",
    hoverinfo: "text",
    hovertext: marks.x.map((_, i) => `final state<br>${aboutState(data, marks, i)}`),
    name: "final states",
    customdata: marks.sequence,
    marker: {
      symbol: "diamond",
      size: look.size + 2,
      color: marks.x.map((_, i) => (classes ? classColour(data, classes[i]) : noClass(view))),
      line: { color: colour("--ink"), width: 1 },
    },
  };
}

const KINDS = [
  ["attractor", "circle", "--ink"],
  ["saddle or repeller", "cross", "--alert"],
  ["on a continuum", "circle-open", "--ink"],
];

function stillTraces(data, view, look) {
  const common = { type: look.cloud, mode: "markers", hoverinfo: "text" };
  const traces = [];
  if (view.shown.slow && data.slow?.x.length) {
    traces.push({
      ...common,
      ...columns(data.slow, null, look.axes),
      name: `slow points (${data.slow.x.length})`,
      hovertext: data.slow.speed.map((q) => `slow point<br>speed ½‖F(s) − s‖² = ${q}`),
      marker: { symbol: "square-open", size: look.size + 1, color: colour("--slow") },
    });
  }
  if (!view.shown.fixed || !data.fixed) return traces;
  for (const [kind, symbol, ink] of KINDS) {
    const index = data.fixed.kind.flatMap((name, i) => (name === kind ? [i] : []));
    if (!index.length) continue;
    traces.push({
      ...common,
      ...columns(data.fixed, index, look.axes),
      name: `${kind} (${index.length})`,
      hovertext: index.map(
        (i) => `fixed point, ${kind}<br>${data.fixed.unstable[i]} growing modes`,
      ),
      marker: {
        symbol: symbol === "cross" ? look.cross : symbol,
        size: look.size + 5,
        color: colour(ink),
        line: { color: colour("--card"), width: 1.5 },
      },
    });
  }
  return traces;
}

// Each trace with an entry of the legend that is large enough to see; a click hides both.
function withKey(trace) {
  const { color } = trace.marker;
  const ink = Array.isArray(color) ? colour("--muted") : color;
  const key = {
    type: trace.type,
    mode: "markers",
    name: trace.name,
    legendgroup: trace.name,
    hoverinfo: "skip",
    ...{ x: [null], y: [null], z: [null] },
    marker: { symbol: trace.marker.symbol, size: 9, color: ink },
  };
  return [{ ...trace, legendgroup: trace.name, showlegend: false }, key];
}

function sceneTraces(data, view, look) {
  const traces = view.shown.visited ? stateTraces(data, view, look) : [];
  if (view.shown.final) traces.push(finalTrace(data, view, look));
  return [...traces, ...stillTraces(data, view, look)].flatMap(withKey);
}

// Fonts, grounds and the legend, in the colours of the page.
function frame() {
  const ink = colour("--ink");
  return {
    paper_bgcolor: colour("--card"),
    plot_bgcolor: colour("--card"),
    font: { family: "system-ui, sans-serif", size: 12, color: ink },
    hoverlabel: { bgcolor: colour("--card"), bordercolor: colour("--muted"), font: { color: ink } },
    legend: { orientation: "h", y: 0, yref: "container", yanchor: "bottom", x: 0, tracegroupgap: 2 },
    hovermode: "closest",
    uirevision: "keep",
  };
}

// Buttons by name: those that plotly adds by itself may change with its version.
const config = (buttons) => ({
  responsive: true,
  displaylogo: false,
  modeBarButtons: [buttons],
});

async function saveScene(figure, box, name, as) {
  const Plotly = await plotly();
  const uri = await Plotly.toImage(figure, {
    format: as,
    width: box.clientWidth,
    height: box.clientHeight,
    scale: as === "png" ? 3 : 1,
  });
  offer(`${name}.${as}`, blobOf(uri));
}
