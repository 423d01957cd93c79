// The page is read as soon as it is parsed; this wires what can be played with.

const given = JSON.parse(byId("data").textContent);
startTips();
startTheme();
startFiles(given.numbers);
if (given.layers.length) {
  byId("explorer").hidden = false;
  startExplorer(given.layers);
}
document.documentElement.dataset.ready = "yes";
performance.mark("dynprobe-ready");
