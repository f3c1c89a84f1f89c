/** The guided tour: a few stops, each with a sentence or two, a place in the page, and what is shown there. */

import { h, put } from "./dom";
import { ending } from "./endings";
import { isStateless, type Loaded } from "./scene";
import type { Store } from "./store";
import type { Both, Look } from "./types";
import { both, say } from "./words";

interface Stop {
  at: string;
  /** What is filled in is said in the language of the moment. */
  words: Both | (() => string);
  act?: () => void;
}

export class Tour {
  private stops: Stop[] = [];
  private at = -1;
  private readonly box = h("div", { class: "tour", role: "dialog", "aria-modal": "false", "aria-labelledby": "tour-text", tabindex: -1 });
  private opener: HTMLElement | null = null;

  constructor(
    private readonly store: Store,
    private readonly scenes: Loaded[],
  ) {
    this.box.hidden = true;
    document.body.append(this.box);
    this.box.addEventListener("keydown", (event) => {
      const moves: Record<string, () => void> = {
        Escape: () => this.close(),
        ArrowRight: () => this.go(this.at + 1),
        ArrowLeft: () => this.go(Math.max(0, this.at - 1)),
      };
      const move = moves[event.key];
      if (!move) return;
      event.preventDefault();
      move();
    });
    store.on((now, before) => {
      if (now.language !== before.language && this.at >= 0) this.show();
    });
  }

  start(): void {
    this.opener = document.activeElement as HTMLElement | null;
    this.stops = stops(this.store, this.scenes);
    this.go(0);
  }

  private go(to: number): void {
    if (to >= this.stops.length) return this.close();
    this.at = to;
    this.stops[to]!.act?.();
    this.show();
  }

  private show(): void {
    const stop = this.stops[this.at]!;
    for (const lit of document.querySelectorAll(".lit")) lit.classList.remove("lit");
    const place = document.querySelector(stop.at);
    place?.classList.add("lit");
    const last = this.at === this.stops.length - 1;
    const next = h("button", { class: "primary", onclick: () => this.go(this.at + 1) }, say(last ? "done" : "next"));
    put(
      this.box,
      h("p", { id: "tour-text", "aria-live": "polite" }, typeof stop.words === "function" ? stop.words() : both(stop.words)),
      h(
        "div",
        { class: "tour-keys" },
        h("span", { class: "quiet small" }, say("tourPlace", { n: this.at + 1, all: this.stops.length })),
        h("button", { onclick: () => this.close() }, say("close")),
        this.at ? h("button", { onclick: () => this.go(this.at - 1) }, say("previous")) : null,
        next,
      ),
    );
    this.box.hidden = false;
    next.focus({ preventScroll: true });
    place?.scrollIntoView({ block: "start" });
  }

  private close(): void {
    this.at = -1;
    this.box.hidden = true;
    for (const lit of document.querySelectorAll(".lit")) lit.classList.remove("lit");
    this.store.set({ folded: false });
    this.opener?.focus({ preventScroll: true });
  }
}

/** The stops that this look has something for. */
function stops(store: Store, scenes: Loaded[]): Stop[] {
  const look = store.look;
  const last = look.scenes[0]!.steps - 1;
  const carries = !isStateless(look.model.layers);
  const two = carries && look.scenes.length > 1;
  const found: Stop[] = isStateless(look.model.layers) ? stateless(store) : [
    {
      at: "#strip",
      act: () => store.set({ folded: true }),
      words: {
        en: "This is a recurrent network: one cell with a loop. It takes an input, mixes it with its state, and hands the new state back to itself. The state is the only thing it keeps.",
        zh: "这就是循环网络：一个带环的单元。它接收一个输入，与自己的状态混合，再把新状态交还给自己。状态是它保留的唯一东西。",
      },
    },
    {
      at: "#strip",
      act: () => store.set({ folded: false, scene: 0, step: 0 }),
      words: {
        en: "Unrolled, the same cell is drawn once for each step. Nothing was added: every box uses the same parameters. The arrows from box to box are the state.",
        zh: "展开之后，同一个单元每一步画一次。什么都没有增加：每个方块用的是同一组参数。方块之间的箭头就是状态。",
      },
    },
    {
      at: "#strip",
      act: () => store.set({ step: last }),
      words: {
        en: "At the left stands the initial state, all zero. Each input changes it a little; the last state stands for the whole sequence.",
        zh: "最左边是初始状态，全为零。每个输入都改变它一点；最后的状态代表整个序列。",
      },
    },
  ];
  if (two) {
    found.push({ at: "#apart", words: () => ending(scenes, "stop") });
  }
  found.push({ at: "#cell", words: inside(carries, gated(look)) });
  if (look.scenes[0]!.why.length) {
    found.push({
      at: "#why",
      words: {
        en: "Why this output? Each earlier input is asked in three ways how much it mattered. Where they disagree, do not trust any one of them alone.",
        zh: "为什么是这个输出？用三种方法问每个先前的输入起了多大作用。当方法不一致时，不要只信其中一种。",
      },
    });
  }
  if (look.weights) {
    found.push({
      at: "#whatif",
      words: {
        en: "Now change something: take a word out, or move one earlier. The network runs again here, and you see what order and content do to the state and the answer.",
        zh: "现在改一改：删掉一个词，或把一个词前移。网络会在这里重新运行，你能看到顺序与内容怎样影响状态和答案。",
      },
    });
  }
  if (carries) {
    found.push({
      at: "#time",
      words: {
        en: "How long does it remember? The gradient that comes back from the last output tells how much each earlier state still counts.",
        zh: "它能记多久？从最后输出传回的梯度说明每个先前的状态还有多大影响。",
      },
    });
  }
  return found;
}

/** The beginning for a network that hands nothing on. */
function stateless(store: Store): Stop[] {
  return [
    {
      at: "#strip",
      act: () => store.set({ folded: true }),
      words: {
        en: "This is a network without a state: one cell and no loop. It takes an input and answers, and hands nothing on to itself.",
        zh: "这是没有状态的网络：一个单元，没有环。它接收一个输入并给出输出，不把任何东西交给自己。",
      },
    },
    {
      at: "#strip",
      act: () => store.set({ folded: false, scene: 0, step: 0 }),
      words: {
        en: "Drawn once for each step, it is the same cell with the same parameters every time. No arrow runs from box to box: compare it with a recurrent network.",
        zh: "每一步画一次，用的总是同一个单元、同一组参数。方块之间没有箭头：可与循环网络比较。",
      },
    },
  ];
}

/** Whether some cell has gates: values between 0 and 1 that are told as shut or open. */
function gated(look: Look): boolean {
  const found = look.scenes.flatMap((scene) => scene.flow?.saturation ?? []);
  return found.some((layer) => Object.values(layer).some((way) => Object.values(way ?? {}).some((each) => "shut" in each)));
}

function inside(carries: boolean, gates: boolean): Both {
  if (!carries) {
    return {
      en: "Inside the cell: the input is weighed and becomes the output. Choose a unit, and its numbers stand in the formula.",
      zh: "单元内部：输入经过加权成为输出。选一个单元，它的数就代入公式。",
    };
  }
  if (!gates) {
    return {
      en: "Inside the cell: the old state and the input are weighed and mixed to the new state. Choose a unit, and its numbers stand in the formula.",
      zh: "单元内部：旧状态与输入经过加权混合成新状态。选一个单元，它的数就代入公式。",
    };
  }
  return {
    en: "Inside the cell: gates between 0 and 1 decide how much of the old state stays and how much of the new comes in. Choose a unit, and its numbers stand in the formula.",
    zh: "单元内部：介于 0 和 1 之间的门决定旧状态保留多少、新内容进来多少。选一个单元，它的数就代入公式。",
  };
}
