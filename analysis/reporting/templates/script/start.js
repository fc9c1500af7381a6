// Without all this, the page can be read too.

all("figure[data-title]").forEach(makeFigureLive);
makeCellsOpen();
for (const frame of all("main .wide")) {
  const table = frame.querySelector("table");
  if (!table?.tHead) continue;
  makeFilterable(table, frame);
  if (all("tbody tr:not(.panel)", table).length > 1) makeSortable(table);
}
makeScrollable(all("main .wide"));
// A link to something within what is folded up opens it.
const unfold = () => {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  if (target) target.scrollIntoView();
};
addEventListener("hashchange", unfold);
if (location.hash) unfold();
