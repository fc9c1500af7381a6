// By how much each text stands out from what is behind it (WCAG 2.2, relative luminance): those below `least`.
(() => {
  const least = 4.5;
  const parts = (colour) => {
    const found = colour.match(/[\d.]+/g).map(Number);
    if (colour.startsWith("color(")) return [...found.slice(0, 3).map((c) => 255 * c), found[3] ?? 1];
    return [found[0], found[1], found[2], found[3] ?? 1];
  };
  const over = (top, below) => top.slice(0, 3).map((c, k) => c * top[3] + below[k] * (1 - top[3]));
  const behind = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      const layer = parts(getComputedStyle(at).backgroundColor);
      layers.push(layer);
      if (layer[3] === 1) break;
    }
    const canvas = matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18] : [255, 255, 255];
    return layers.reverse().reduce((below, layer) => over(layer, below), canvas);
  };
  const luminance = (colour) => {
    const [r, g, b] = colour.map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.textContent.trim() || ["SCRIPT", "STYLE"].includes(element.tagName) || !element.checkVisibility()) continue;
    seen++;
    const back = behind(element);
    const front = over(parts(getComputedStyle(element).color), back);
    const [light, dark] = [luminance(front), luminance(back)].sort((a, b) => b - a);
    const ratio = (light + 0.05) / (dark + 0.05);
    if (ratio < least) faint.push(`${ratio.toFixed(2)}: ${element.tagName}.${element.className} ${node.textContent.trim().slice(0, 40)}`);
  }
  return { seen, faint };
})()
