"use strict";
// The slider: one curve strong, one slice shown, one line of text.
for (const course of document.querySelectorAll("[data-course]")) {
  const slider = course.querySelector("input");
  const show = (step) => {
    for (const curve of course.querySelectorAll('g[id*="-step-"]'))
      curve.classList.toggle("on", curve.id.endsWith("-step-" + step));
    for (const line of course.querySelectorAll("[data-step]"))
      line.classList.toggle("on", line.dataset.step === step);
    for (const slice of course.querySelectorAll("[data-steps]"))
      slice.classList.toggle("on", slice.dataset.steps.split(" ").includes(step));
  };
  const lines = course.querySelectorAll("[data-step]");
  show(slider ? slider.value : lines[lines.length - 1].dataset.step);
  if (slider) slider.addEventListener("input", () => show(slider.value));
}
// A page of a running job says how old it is, and looks for a newer one.
if (document.body.dataset.state === "running") {
  const drawn = Number(document.body.dataset.drawn);
  const age = () => {
    const minutes = Math.floor((Date.now() / 1000 - drawn) / 60);
    const text = minutes < 2 ? "" : minutes < 120 ? minutes + " minutes ago"
      : Math.round(minutes / 60) + " hours ago: if an iteration takes less, the run is gone";
    document.getElementById("age").textContent = text ? ", " + text : "";
  };
  age();
  setInterval(age, 30000);
  setInterval(() => { if (!document.hidden) location.reload(); }, 60000);
}
