// The views of one layer, and the controls that they share.

function startExplorer(layers) {
  const view = {
    layer: 0,
    colour: "none",
    axes: [0, 1],
    course: 0,
    step: 0,
    pushed: 0,
    sort: "recorded",
    shown: { visited: true, final: false, slow: false, fixed: true, readouts: true, at: true },
  };
  const boxes = { plane: byId("plane"), space: byId("space"), words: byId("words") };
  const inView = { plane: false, space: false };
  let data = layers[0];
  let order = [];
  const clock = startClock((step) => setStep(step));

  // One drawing at a time; what is asked for meanwhile is drawn once, at the end.
  function drawer(name, draw) {
    let busy = false;
    let wanted = false;
    return async () => {
      wanted = true;
      if (busy || !inView[name]) return;
      busy = true;
      try {
        while (wanted) {
          wanted = false;
          await draw();
          boxes[name].dataset.drawn = Number(boxes[name].dataset.drawn ?? 0) + 1;
          performance.mark(`dynprobe-${name}`);
        }
      } catch (error) {
        boxes[name].textContent = `This plot could not be drawn: ${error.message}. All numbers, texts and figures of the page are complete without it.`;
      } finally {
        busy = false;
      }
    };
  }
  const trail = () => drawTrail(boxes.plane, data, view);
  const plane = drawer("plane", async () => {
    await drawPlane(boxes.plane, data, view, pick);
    boxes.plane.removeAllListeners("plotly_afterplot");
    boxes.plane.on("plotly_afterplot", trail); // also after zooming and resizing
    trail();
  });
  const space = drawer("space", () => drawSpace(boxes.space, data, view));
  const draw = () => {
    plane();
    space();
  };

  function pick(sequence) {
    const found = data.courses.findIndex((course) => course.sequence === sequence);
    if (found >= 0) setCourse(found);
  }

  function setStep(step) {
    view.step = step;
    byId("step").setAttribute("aria-valuetext", aboutStep(data, view));
    byId("step-text").textContent = aboutStep(data, view);
    markWord(boxes.words, step);
    trail();
  }

  function setCourse(course) {
    clock.stop();
    view.course = course;
    view.step = stepsOf(data.courses[course]);
    clock.set(data.courses[course], view.step);
    byId("course-text").textContent = aboutCourse(data, view, order);
    showWords(boxes.words, data, view);
    setStep(view.step);
    space();
  }

  function turn(by) {
    const at = order.indexOf(view.course) + by;
    setCourse(order[(at + order.length) % order.length]);
  }

  function setLayer(layer) {
    view.layer = layer;
    data = layers[layer];
    const missing = data.missing;
    const known = (name) => Boolean(data.visited[name]);
    view.colour = ["predicted", "label", "step"].find((name) => name === "step" || known(name));
    view.pushed = 0;
    view.sort = "recorded";
    fill(
      byId("colour"),
      [
        ["predicted", "predicted class", missing.predicted],
        ["label", "label of the sequence", missing.label],
        ["step", "step", ""],
        ["none", "nothing", ""],
      ],
      view.colour,
    );
    fill(byId("pushed"), data.pushed.map((name, i) => [i, name, ""]), 0);
    const sure = data.courses.some((course) => course.confidence !== null);
    const judged = data.courses.some((course) => course.right !== null);
    fill(
      byId("sort"),
      [
        ["recorded", "as recorded", ""],
        ["longest", "longest first", ""],
        ["confident", "most confident first", sure ? "" : "no logits"],
        ["wrong", "wrong answers first", judged ? "" : "no labels to judge by"],
      ],
      view.sort,
    );
    for (const name of Object.keys(view.shown)) {
      const box = byId(`show-${name}`);
      const there = { slow: data.slow, fixed: data.fixed, readouts: data.readouts };
      box.disabled = name in there && !there[name];
      box.checked = view.shown[name] && !box.disabled;
    }
    byId("pushed-label").hidden = !data.pushed.length;
    byId("told-states").textContent = data.told.states;
    byId("told-courses").textContent = data.told.courses;
    const notes = [missing.text, missing.words, missing.push].filter(Boolean);
    byId("missing").replaceChildren(...notes.map((text) => element("p", { textContent: text })));
    order = sorted(data, view.sort);
    setCourse(order[0]);
    draw();
  }

  function start() {
    fill(byId("layer"), layers.map((one, i) => [i, one.layer, ""]), 0);
    byId("layer-label").hidden = layers.length < 2;
    byId("layer").addEventListener("change", (event) => setLayer(Number(event.target.value)));
    byId("colour").addEventListener("change", (event) => {
      view.colour = event.target.value;
      draw();
    });
    byId("axes").addEventListener("change", (event) => {
      view.axes = event.target.value.split(",").map(Number);
      plane();
    });
    byId("pushed").addEventListener("change", (event) => {
      view.pushed = Number(event.target.value);
      showWords(boxes.words, data, view);
    });
    byId("sort").addEventListener("change", (event) => {
      view.sort = event.target.value;
      order = sorted(data, view.sort);
      setCourse(order[0]);
    });
    for (const name of Object.keys(view.shown)) {
      byId(`show-${name}`).addEventListener("change", (event) => {
        view.shown[name] = event.target.checked;
        draw();
      });
    }
    byId("previous").addEventListener("click", () => turn(-1));
    byId("next").addEventListener("click", () => turn(1));
    boxes.words.addEventListener("click", (event) => {
      const word = event.target.closest("[data-step]");
      if (!word) return;
      byId("step").value = word.dataset.step;
      setStep(Number(word.dataset.step));
    });
    document.querySelectorAll("button[data-of=scene]").forEach((button) => {
      button.addEventListener("click", () => save(button.dataset.scene, button.dataset.as));
    });
    themeChanged.push(draw);
    watch();
  }

  function save(name, as) {
    const [box, made] = [boxes[name], name === "plane" ? planeForFile : spaceForFile];
    if (!box.layout) return; // not drawn yet
    saveScene(made(box, data, view), box, `${data.layer}.${name}`, as);
  }

  function sayNoWebgl() {
    boxes.space.textContent =
      "The view in three dimensions needs WebGL, which this browser does not offer. The plane beside it shows any two of the three components.";
    boxes.space.classList.add("absent");
    document.querySelectorAll("[data-scene=space]").forEach((button) => (button.disabled = true));
  }

  // Plots are drawn when they come into view, and the text of the page before them.
  function watch() {
    const seen = new IntersectionObserver(
      async (entries) => {
        await painted();
        for (const { isIntersecting, target } of entries) {
          if (!isIntersecting) continue;
          seen.unobserve(target);
          inView[target.id] = true;
          if (target === boxes.plane) plane();
          else if (hasWebgl()) space();
          else {
            inView.space = false;
            sayNoWebgl();
          }
        }
      },
      { rootMargin: "150px" },
    );
    seen.observe(boxes.plane);
    seen.observe(boxes.space);
  }

  start();
  setLayer(0);
}
