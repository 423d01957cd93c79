// The step that all views show: a slider and a button that lets it run.

const TICK = 140; // milliseconds

// Steps of a sequence that are on the page.
const stepsOf = (course) => course.x.length - (course.started ? 1 : 0);

function startClock(moved) {
  const slider = byId("step");
  const button = byId("play");
  let timer = null;

  function stop() {
    clearInterval(timer);
    timer = null;
    button.textContent = "▶ Play";
    button.setAttribute("aria-pressed", "false");
  }

  function go() {
    if (Number(slider.value) >= Number(slider.max)) slider.value = slider.min;
    timer = setInterval(() => {
      slider.value = Number(slider.value) + 1;
      moved(Number(slider.value));
      if (Number(slider.value) >= Number(slider.max)) stop();
    }, TICK);
    button.textContent = "❚❚ Pause";
    button.setAttribute("aria-pressed", "true");
  }

  slider.addEventListener("input", () => moved(Number(slider.value)));
  button.addEventListener("click", () => (timer === null ? go() : stop()));

  return {
    stop,
    set(course, step) {
      slider.min = course.started ? 0 : 1;
      slider.max = stepsOf(course);
      slider.value = step;
    },
  };
}
