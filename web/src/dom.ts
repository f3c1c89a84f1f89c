/** Elements made of plain values. What people wrote goes in as text, never as markup. */

type Value = string | number | boolean | null | undefined | EventListener | ((event: never) => void);
type Child = Node | string | number | null | undefined;

const SVG = "http://www.w3.org/2000/svg";

function fill<E extends Element>(element: E, given: Record<string, Value>, children: Child[]): E {
  for (const [name, value] of Object.entries(given)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2).toLowerCase(), value as EventListener);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children) {
    if (child !== null && child !== undefined) element.append(child instanceof Node ? child : String(child));
  }
  return element;
}

/** An HTML element: `h("button", {class: "small", onclick: run}, "text")`. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  given: Record<string, Value> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  return fill(document.createElement(tag), given, children);
}

/** The same of SVG. */
export function s<K extends keyof SVGElementTagNameMap>(
  tag: K,
  given: Record<string, Value> = {},
  ...children: Child[]
): SVGElementTagNameMap[K] {
  return fill(document.createElementNS(SVG, tag), given, children);
}

/** What stands in an element is taken out, and this put in. */
export function put(element: Element, ...children: Child[]): void {
  element.replaceChildren();
  fill(element, {}, children);
}

/** A canvas as large as its box, in the pixels of the screen; null where it has no size yet. */
export function sized(canvas: HTMLCanvasElement, width: number, height: number): CanvasRenderingContext2D | null {
  const ratio = window.devicePixelRatio || 1;
  const wide = Math.round(width * ratio);
  const high = Math.round(height * ratio);
  if (wide < 1 || high < 1) return null;
  if (canvas.width !== wide) canvas.width = wide;
  if (canvas.height !== high) canvas.height = high;
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context?.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}

/** A file that the browser saves; nothing leaves the page. */
export function save(name: string, content: BlobPart, type: string): void {
  const address = URL.createObjectURL(new Blob([content], { type }));
  const link = h("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** A text as it can be seen: control characters have signs, and so have the blanks at its ends. */
export function seen(text: string): string {
  if (text === "") return "∅";
  let shown = "";
  const inside = [text.length - text.trimStart().length, text.trimEnd().length] as const;
  let place = 0;
  for (const sign of text) {
    const code = sign.codePointAt(0) ?? 0;
    if (sign === " ") shown += place >= inside[0] && place < inside[1] ? " " : "␣";
    else if (code < 32) shown += String.fromCodePoint(0x2400 + code);
    else if (code === 127) shown += "␡";
    else if (/\p{C}/u.test(sign) && code !== 0x200d) shown += `⟨${code.toString(16).toUpperCase()}⟩`;
    else shown += sign;
    place += sign.length;
  }
  return shown;
}
