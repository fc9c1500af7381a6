// Photos are sent one after the other, and their answers shown as text.
"use strict";

const at = (id) => document.getElementById(id);
const shown = (share) => `${(100 * share).toFixed(1)} %`;
let last = Promise.resolve();

function inWords(type, answer) {
  if (answer.probabilities)
    return Object.entries(answer.probabilities)
      .sort((a, b) => b[1] - a[1])
      .map(([name, share]) => `${name} ${shown(share)}`)
      .join(", ");
  const found = answer.detected ? `${type} detected` : `${type} not detected`;
  return `${found} (its probability ${shown(answer.blur_type_probability)}, confidence ${shown(answer.confidence)})`;
}

async function classified(file, type) {
  const body = new FormData();
  body.append("file", file);
  const token = at("token").value;
  const response = await fetch(`/api/v1/blur/classify${type ? `?blur_type=${encodeURIComponent(type)}` : ""}`, {
    method: "POST", body, headers: token ? { Authorization: `Bearer ${token}` } : {},
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return inWords(type, answer);
}

function send(files) {
  const type = at("type").value;
  document.querySelector("table").hidden = false;
  for (const file of files) {
    const row = document.querySelector("tbody").insertRow();
    row.insertCell().textContent = file.name;
    const cell = row.insertCell();
    cell.textContent = "…";
    last = last.then(() => classified(file, type)).then(
      (text) => { cell.textContent = text; },
      (error) => { cell.textContent = error.message; cell.className = "refused"; },
    );
  }
}

async function begin() {
  const health = await (await fetch("/health")).json();
  at("state").textContent = health.model ? `Model: ${health.origin || health.model}` : "There is no model: photos are refused.";
  at("secret").hidden = !health.token;
  for (const name of health.blur_types) at("type").add(new Option(name, name));
}

document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
at("files").addEventListener("change", (event) => { send(event.target.files); event.target.value = ""; });
for (const kind of ["dragover", "dragleave", "drop"])
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") send(event.dataTransfer.files);
  });
begin().catch((error) => { at("state").textContent = `The service does not answer: ${error.message}`; });
