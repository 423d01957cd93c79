// plotly, unpacked when the first plot comes into view: the page is readable long before.

let loading = null;

function plotly() {
  loading ??= unpacked(byId("plotly").textContent.trim()).then((source) => {
    // run as a script of the page: its digest is in the page's policy
    document.head.append(element("script", { textContent: source }));
    if (!globalThis.Plotly) throw new Error("the browser refused to run plotly");
    return globalThis.Plotly;
  });
  return loading;
}

let webglFound = null;

function hasWebgl() {
  if (webglFound === null) {
    const canvas = document.createElement("canvas");
    const context = canvas.getContext("webgl") ?? canvas.getContext("experimental-webgl");
    webglFound = context !== null;
    context?.getExtension("WEBGL_lose_context")?.loseContext();
  }
  return webglFound;
}
