// Light or dark: as the system says, until the reader says otherwise.

const themeChanged = [];

const systemDark = matchMedia("(prefers-color-scheme: dark)");

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : systemDark.matches;
}

function startTheme() {
  const button = byId("theme");

  function tell() {
    button.textContent = isDark() ? "Light page" : "Dark page";
    themeChanged.forEach((act) => act());
  }

  button.hidden = false;
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    tell();
  });
  systemDark.addEventListener("change", tell);
  tell();
}
