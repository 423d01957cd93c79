// One tooltip for everything that carries a data-tip: by pointer, by keyboard; Escape hides it.

function startTips() {
  const tip = element("div", { id: "tip", role: "tooltip", hidden: true });
  document.body.append(tip);
  let shownFor = null;

  function hide() {
    shownFor?.removeAttribute("aria-describedby");
    shownFor = null;
    tip.hidden = true;
  }

  function show(target) {
    if (shownFor === target) return;
    hide();
    tip.textContent = target.dataset.tip;
    tip.hidden = false;
    shownFor = target;
    target.setAttribute("aria-describedby", "tip");
    place(target.getBoundingClientRect());
  }

  // Below what it explains, above where there is no room; never outside the window.
  function place(at) {
    const [width, height] = [tip.offsetWidth, tip.offsetHeight];
    const room = document.documentElement.clientWidth - width - 8;
    const below = at.bottom + 6;
    const fits = below + height < window.innerHeight;
    tip.style.left = `${Math.max(8, Math.min(at.left, room))}px`;
    tip.style.top = `${fits ? below : Math.max(8, at.top - height - 6)}px`;
  }

  const explained = (event) => event.target.closest?.("[data-tip]");
  document.addEventListener("pointerover", (event) => {
    const target = explained(event);
    if (target) show(target);
    else if (shownFor && shownFor !== document.activeElement && event.target !== tip) hide();
  });
  document.addEventListener("focusin", (event) => {
    const target = explained(event);
    if (target) show(target);
    else hide();
  });
  document.addEventListener("focusout", hide);
  const follow = () => shownFor && place(shownFor.getBoundingClientRect());
  document.addEventListener("scroll", follow, { passive: true, capture: true });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
  });
}
