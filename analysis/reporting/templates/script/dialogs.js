"use strict";
// What the other files of this folder build with: elements, and dialogs. All of them are one script of the page.

const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const make = (tag, about = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(about)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
};
const svg = (tag, about, ...children) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(about)) element.setAttribute(name, value);
  element.append(...children);
  return element;
};

/** A modal dialog: Escape and a click beside it close it, then the focus goes back to where it came from. */
const openDialog = (title, kind, tools, body) => {
  const opener = document.activeElement;
  const heading = make("h2", { textContent: title, id: "dialog-title" });
  const close = make("button", { type: "button", textContent: "Close", onclick: () => dialog.close() });
  const dialog = make("dialog", { className: kind, "aria-labelledby": "dialog-title" },
    make("header", {}, heading, ...tools, close), body);
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (opener && opener.isConnected) opener.focus();
  });
  document.body.append(dialog);
  dialog.showModal();
  close.focus();
  return dialog;
};
