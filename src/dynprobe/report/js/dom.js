// What the page does with the DOM, in short words. Text goes in as text, never as markup.

const byId = (id) => document.getElementById(id);

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// Options of a <select>: [value, text, reason why it cannot be chosen].
function fill(select, options, chosen) {
  select.replaceChildren(
    ...options.map(([value, text, why]) =>
      element("option", {
        value,
        textContent: why ? `${text} (${why})` : text,
        disabled: Boolean(why),
        selected: String(value) === String(chosen),
      }),
    ),
  );
}

// A value from the page's colours, such as colour("--ink").
function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// "+0.52": four digits would pretend; tiny numbers keep their power of ten.
function signed(value) {
  if (value === null) return "unknown";
  const size = Math.abs(value);
  const text = size !== 0 && size < 0.001 ? size.toExponential(1) : size.toFixed(size < 10 ? 3 : 1);
  return (value < 0 ? "−" : "+") + text;
}

// plotly reads a few tags in its labels; names of tokens and classes are no markup.
function plain(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

// After what was drawn so far is on the screen.
function painted() {
  return new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
}
