// Sequences as text, each word on the colour of what its step adds to a logit.

const PLUS = [0, 114, 178];
const MINUS = [213, 94, 0];
const STRONGEST = 0.62; // of full colour: the words stay legible on it

const tint = ([r, g, b], share) => `rgba(${r}, ${g}, ${b}, ${(STRONGEST * share).toFixed(3)})`;

function pushColour(value, scale) {
  if (value === null || scale === 0) return "";
  return tint(value < 0 ? MINUS : PLUS, Math.min(Math.abs(value) / scale, 1));
}

// The size that 98 % of all pushes on this logit stay within: one scale for all sequences.
function pushScale(data, pushed) {
  const sizes = data.courses
    .flatMap((course) => (course.push ?? []).map((row) => row[pushed]))
    .filter((value) => value !== null)
    .map(Math.abs)
    .sort((a, b) => a - b);
  return sizes.length ? sizes[Math.floor(0.98 * (sizes.length - 1))] : 0;
}

const SORTS = {
  recorded: () => 0,
  longest: (a, b) => b.length - a.length,
  confident: (a, b) => b.confidence - a.confidence,
  wrong: (a, b) => (a.right === false ? 0 : 1) - (b.right === false ? 0 : 1) || b.confidence - a.confidence,
};

// Places of the sequences in the order asked for; equal ones as recorded.
function sorted(data, by) {
  const order = data.courses.map((_, i) => i);
  return order.sort((i, j) => SORTS[by](data.courses[i], data.courses[j]) || i - j);
}

function wordAt(data, course, i) {
  return course.token ? data.words[course.token[i]] : String(i + 1);
}

// "adds +0.52 to A, −0.31 to B"
function pushesAt(data, course, i) {
  const row = course.push?.[i];
  if (!row) return "";
  if (row[0] === null) return "what it adds is unknown: the state before it was not recorded";
  return `adds ${row.map((value, k) => `${signed(value)} to ${data.pushed[k]}`).join(", ")}`;
}

function showWords(box, data, view) {
  const course = data.courses[view.course];
  const scale = pushScale(data, view.pushed);
  const count = course.token?.length ?? course.push?.length ?? 0;
  const words = Array.from({ length: count }, (_, i) => {
    const word = element("span", { className: "word", textContent: wordAt(data, course, i) });
    word.dataset.step = i + 1;
    const what = pushesAt(data, course, i);
    word.dataset.tip = `step ${i + 1}: ${word.textContent}${what ? ` ${what}` : ""}`;
    word.style.backgroundColor = course.push ? pushColour(course.push[i][view.pushed], scale) : "";
    return word;
  });
  box.replaceChildren(...words.flatMap((word) => [word, " "]));
  markWord(box, view.step);
  showScale(data, view, scale);
}

function markWord(box, step) {
  box.querySelector(".now")?.classList.remove("now");
  const word = box.querySelector(`[data-step="${step}"]`);
  word?.classList.add("now");
  if (word && box.scrollHeight > box.clientHeight) box.scrollTop = word.offsetTop - box.clientHeight / 2;
}

function showScale(data, view, scale) {
  const legend = byId("push-legend");
  legend.hidden = !data.pushed.length;
  if (legend.hidden) return;
  const stops = [tint(MINUS, 1), tint(MINUS, 0), tint(PLUS, 1)];
  byId("push-bar").style.background = `linear-gradient(to right, ${stops.join(", ")})`;
  byId("push-low").textContent = signed(-scale);
  byId("push-high").textContent = signed(scale);
  byId("push-what").textContent = `added to the logit of ${data.pushed[view.pushed]} by a step`;
}

function aboutCourse(data, view, order) {
  const course = data.courses[view.course];
  const parts = [
    `${order.indexOf(view.course) + 1} of ${order.length}`,
    `sequence ${course.sequence} of the recording`,
    `${course.length} steps`,
  ];
  if (course.label >= 0) parts.push(`label ${data.classes.names[course.label]}`);
  if (course.predicted >= 0) {
    const sure = course.confidence === null ? "" : `, probability ${course.confidence.toFixed(3)}`;
    parts.push(`predicted ${data.classes.names[course.predicted]}${sure}`);
  }
  if (course.right !== null) parts.push(course.right ? "right" : "wrong");
  return parts.join(" · ");
}

function aboutStep(data, view) {
  const course = data.courses[view.course];
  const last = stepsOf(course);
  if (view.step === 0) return `Step 0 of ${last}: before the first word.`;
  const i = view.step - 1;
  const name = course.token ? ` “${wordAt(data, course, i)}”` : "";
  const what = pushesAt(data, course, i);
  return `Step ${view.step} of ${last}:${name} ${what}`.trim();
}
