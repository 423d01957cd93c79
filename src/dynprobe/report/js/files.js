// Files made in the page: figures as PNG and SVG, numbers as CSV and JSON.

function offer(name, content, type) {
  const blob = content instanceof Blob ? content : new Blob([content], { type });
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// A data URI as a blob, without a request.
function blobOf(uri) {
  const [head, body] = [uri.slice(5, uri.indexOf(",")), uri.slice(uri.indexOf(",") + 1)];
  const type = head.replace(";base64", "");
  if (!head.endsWith(";base64")) return new Blob([decodeURIComponent(body)], { type });
  return new Blob([bytesOf(body)], { type });
}

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
}

function unpacked(base64) {
  const stream = new Blob([bytesOf(base64)]).stream();
  return new Response(stream.pipeThrough(new DecompressionStream("gzip"))).text();
}

function pngOf(image, scale) {
  const canvas = element("canvas", {
    width: image.naturalWidth * scale,
    height: image.naturalHeight * scale,
  });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

// A drawn figure: one of the two kinds is what the page shows, the other is made of it.
async function saveFigure(button) {
  const figure = button.closest("figure");
  const image = figure.querySelector("img");
  await image.decode();
  const isSvg = image.src.startsWith("data:image/svg+xml");
  if (button.dataset.as === "svg") {
    const packed = figure.querySelector("script[type='application/gzip']");
    const svg = isSvg ? blobOf(image.src) : await unpacked(packed.textContent.trim());
    offer(`${figure.dataset.name}.svg`, svg, "image/svg+xml");
  } else {
    offer(`${figure.dataset.name}.png`, isSvg ? await pngOf(image, 3) : blobOf(image.src));
  }
}

// Spreadsheets run what begins like a formula: such a text gets an apostrophe before it.
function csvCell(text) {
  const safe = /^[=+\-@\t\r]./.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
  return `"${safe.replaceAll('"', '""')}"`;
}

function saveNumbers(rows, as) {
  if (as === "json") {
    offer("dynprobe-numbers.json", JSON.stringify(rows, null, 1), "application/json");
    return;
  }
  const columns = ["layer", "analyzer", "measure", "value", "meaning"];
  const lines = [columns, ...rows.map((row) => columns.map((name) => row[name]))];
  const text = lines.map((line) => line.map(csvCell).join(",")).join("\r\n");
  // the mark lets spreadsheets read it as UTF-8
  offer("dynprobe-numbers.csv", `\ufeff${text}\r\n`, "text/csv");
}

function startFiles(rows) {
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("button[data-as]");
    if (button?.dataset.of === "numbers") saveNumbers(rows, button.dataset.as);
    else if (button?.dataset.of === "figure") saveFigure(button);
  });
}
