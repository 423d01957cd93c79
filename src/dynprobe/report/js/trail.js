// What follows the step, over the plane: the path so far, all sequences at this step, this one.

const SVG = "http://www.w3.org/2000/svg";

// Coordinates of a sequence after `step` steps; its path begins one earlier where that is known.
const rowAt = (course, step) => Math.max(step - (course.started ? 0 : 1), 0);

function movingMarks(data, view) {
  const course = data.courses[view.course];
  const [across, up] = view.axes.map((axis) => AXES[axis]);
  const at = (c, row) => [c[across][row], c[up][row]];
  const end = rowAt(course, view.step);
  const path = Array.from({ length: end + 1 }, (_, row) => at(course, row));
  const classes = ["label", "predicted"].includes(view.colour) ? view.colour : null;
  const others = data.courses
    .filter((c) => view.step <= stepsOf(c))
    .map((c) => ({
      at: at(c, rowAt(c, view.step)),
      colour: classes ? classColour(data, c[classes]) : noClass(view),
    }));
  return { path, others, here: path[path.length - 1] };
}

function shape(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function starAround(x, y, size) {
  const corner = (i) => {
    const [angle, far] = [(i * Math.PI) / 5, i % 2 ? size * 0.45 : size];
    return `${x + far * Math.sin(angle)},${y - far * Math.cos(angle)}`;
  };
  return Array.from({ length: 10 }, (_, i) => corner(i)).join(" ");
}

// Draws over the plane, where plotly's axes say that a state lies.
function drawTrail(box, data, view) {
  const full = box._fullLayout;
  if (!full) return;
  const [ink, card] = [colour("--ink"), colour("--card")];
  const { xaxis, yaxis } = full;
  const spot = ([x, y]) => [xaxis.c2p(x), yaxis.c2p(y)];
  const { path, others, here } = movingMarks(data, view);
  const line = path.map((p) => spot(p).map((v) => v.toFixed(1)).join(",")).join(" ");
  const [x, y] = spot(here);
  const shapes = [];
  if (view.shown.at) {
    for (const { at, colour: fill } of others) {
      const [cx, cy] = spot(at);
      shapes.push(shape("circle", { cx, cy, r: 4.5, fill, stroke: ink, "stroke-width": 1.5 }));
    }
  }
  shapes.push(
    shape("polyline", { points: line, fill: "none", stroke: card, "stroke-width": 4.5 }),
    shape("polyline", { points: line, fill: "none", stroke: ink, "stroke-width": 2 }),
    shape("polygon", { points: starAround(x, y, 10), fill: ink, stroke: card, "stroke-width": 1.5 }),
  );
  let trail = box.querySelector(".trail");
  if (!trail) {
    trail = shape("svg", { class: "trail" });
    // over the dots, under names of readouts, legend and what hovering shows
    const layers = box.querySelectorAll(".svg-container > .main-svg");
    layers[layers.length - 1].before(trail);
  }
  Object.assign(trail.style, {
    left: `${xaxis._offset}px`,
    top: `${yaxis._offset}px`,
    width: `${xaxis._length}px`,
    height: `${yaxis._length}px`,
  });
  trail.replaceChildren(...shapes);
}
