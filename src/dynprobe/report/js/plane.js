// The states in two components. Dots are SVG: plotly's faster dots need `eval`, which the page's
// policy forbids. What follows the step lies on top of them (trail.js), so that they stay in place.

const planeLook = (view) => ({
  cloud: "scatter",
  axes: view.axes,
  size: 5,
  opacity: 0.5,
  cross: "x",
});

function arrows(data, view) {
  if (!view.shown.readouts || !data.readouts) return [];
  const [across, up] = view.axes.map((axis) => data.readouts[AXES[axis]]);
  return data.readouts.names.flatMap((name, i) => {
    const base = { x: across[i], y: up[i], xref: "x", yref: "y" };
    const left = across[i] < 0;
    return [
      {
        ...base,
        ax: 0,
        ay: 0,
        axref: "x",
        ayref: "y",
        showarrow: true,
        arrowhead: 2,
        arrowsize: 1.2,
        arrowwidth: 1.8,
        arrowcolor: colour("--ink"),
        text: "",
      },
      {
        ...base,
        showarrow: false,
        text: `<b>${plain(name)}</b>`,
        xanchor: left ? "right" : "left",
        xshift: left ? -6 : 6,
        yshift: up[i] < 0 ? -8 : 8,
        bgcolor: colour("--veil"),
        font: { size: 13 },
      },
    ];
  });
}

// Names of the moving marks, so that the legend tells of them too.
function movingLegend(view) {
  const ink = colour("--ink");
  const card = colour("--card");
  const nowhere = { x: [null], y: [null], type: "scatter", hoverinfo: "skip" };
  const traces = [
    { ...nowhere, mode: "lines", name: "path so far", line: { color: ink, width: 2 } },
    {
      ...nowhere,
      mode: "markers",
      name: "this sequence now",
      marker: { symbol: "star", size: 15, color: ink, line: { color: card, width: 1 } },
    },
  ];
  const rings = {
    ...nowhere,
    mode: "markers",
    name: "all sequences now",
    marker: { size: 8, color: colour("--muted"), line: { color: ink, width: 1.5 } },
  };
  return view.shown.at ? [rings, ...traces] : traces;
}

// Ranges that hold everything shown, whatever the step; a fifth more for the names of readouts.
function ranges(data, view) {
  const clouds = [data.visited, data.final, ...data.courses];
  if (view.shown.fixed && data.fixed) clouds.push(data.fixed);
  if (view.shown.slow && data.slow) clouds.push(data.slow);
  if (view.shown.readouts && data.readouts) clouds.push(data.readouts);
  return view.axes.map((axis) => {
    let [low, high] = [Infinity, -Infinity];
    for (const cloud of clouds) {
      for (const value of cloud[AXES[axis]]) {
        if (value < low) low = value;
        if (value > high) high = value;
      }
    }
    const room = 0.08 * (high - low) || 1;
    return [low - room, high + room];
  });
}

function planeFigure(data, view) {
  const [across, up] = ranges(data, view);
  const axis = (k) => ({
    title: { text: data.axes[view.axes[k]], standoff: 6 },
    gridcolor: colour("--line"),
    zerolinecolor: colour("--line"),
    nticks: 7,
  });
  const layout = {
    ...frame(),
    margin: { l: 58, r: 12, t: 12, b: 150 },
    xaxis: { ...axis(0), range: across },
    yaxis: { ...axis(1), range: up, scaleanchor: "x" },
    annotations: arrows(data, view),
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    uirevision: `${data.layer} ${view.axes}`,
  };
  const traces = [...sceneTraces(data, view, planeLook(view)), ...movingLegend(view)];
  return { data: traces, layout, config: config(["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]) };
}

// For a file: what is seen now, the moving marks as dots and lines of the plot itself.
function planeForFile(box, data, view) {
  const figure = planeFigure(data, view);
  figure.layout.xaxis.range = box.layout.xaxis.range;
  figure.layout.yaxis.range = box.layout.yaxis.range;
  const { path, here, others } = movingMarks(data, view);
  const [star, line, rings] = figure.data.slice(-movingLegend(view).length).reverse();
  Object.assign(line, { x: path.map((p) => p[0]), y: path.map((p) => p[1]) });
  Object.assign(star, { x: [here[0]], y: [here[1]] });
  if (rings) {
    Object.assign(rings, { x: others.map((p) => p.at[0]), y: others.map((p) => p.at[1]) });
    rings.marker.color = others.map((p) => p.colour);
  }
  return figure;
}

async function drawPlane(box, data, view, picked) {
  const Plotly = await plotly();
  const figure = planeFigure(data, view);
  await Plotly.react(box, figure.data, figure.layout, figure.config);
  box.removeAllListeners("plotly_click");
  box.on("plotly_click", ({ points }) => {
    if (points[0].customdata !== undefined) picked(points[0].customdata);
  });
}
