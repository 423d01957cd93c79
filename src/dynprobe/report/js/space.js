// The states in three components, to be turned by hand. Needs WebGL.

// Marks in space are letters of a font, and many fonts lack that of "x".
const SPACE_LOOK = { cloud: "scatter3d", axes: [0, 1, 2], size: 2, opacity: 0.6, cross: "cross" };

// From in front and above, so that PC 1 runs to the right as in the plane; from farther where the
// plot is narrow.
function fromAbove(box) {
  const far = box.clientWidth < 450 ? 3.0 : 1.7;
  return { eye: { x: 0.3 * far, y: -1.4 * far, z: 1.4 * far }, center: { x: -0.12, y: 0, z: -0.1 } };
}

function readoutLines(data) {
  const { x, y, z, names } = data.readouts;
  return names.map((name, i) => ({
    type: "scatter3d",
    mode: "lines+text",
    x: [0, x[i]],
    y: [0, y[i]],
    z: [0, z[i]],
    text: ["", `<b>${plain(name)}</b>`],
    textfont: { color: colour("--ink"), size: 13 },
    line: { color: colour("--ink"), width: 5 },
    hoverinfo: "skip",
    name: "readout vectors",
    legendgroup: "readouts",
    showlegend: i === 0,
  }));
}

function spaceFigure(data, view) {
  const traces = sceneTraces(data, view, SPACE_LOOK);
  const course = data.courses[view.course];
  traces.push({
    ...columns(course, null, [0, 1, 2]),
    type: "scatter3d",
    mode: "lines",
    hoverinfo: "skip",
    name: "path of this sequence",
    line: { color: colour("--ink"), width: 3 },
  });
  if (view.shown.readouts && data.readouts) traces.push(...readoutLines(data));
  const axis = (k) => ({
    title: { text: `PC ${k + 1}` },
    gridcolor: colour("--line"),
    zerolinecolor: colour("--muted"),
    backgroundcolor: colour("--card"),
    nticks: 5,
  });
  const layout = {
    ...frame(),
    margin: { l: 0, r: 0, t: 0, b: 90 },
    scene: { xaxis: axis(0), yaxis: axis(1), zaxis: axis(2), aspectmode: "data", camera: fromAbove(byId("space")) },
  };
  return { data: traces, layout, config: config(["orbitRotation", "zoom3d", "pan3d", "resetCameraDefault3d"]) };
}

// For a file: turned as it is seen now.
function spaceForFile(box, data, view) {
  const figure = spaceFigure(data, view);
  figure.layout.scene.camera = box.layout.scene.camera;
  return figure;
}

async function drawSpace(box, data, view) {
  const Plotly = await plotly();
  await painted(); // the plane beside it is seen first
  const figure = spaceFigure(data, view);
  await Plotly.react(box, figure.data, figure.layout, figure.config);
}
