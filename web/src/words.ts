/** All words of the page, in both languages. `{name}` is filled in. */

import type { Both } from "./types";

export const WORDS = {
  title: { en: "Inside a recurrent network", zh: "循环网络的内部" },
  other: { en: "中文", zh: "English" },
  tourStart: { en: "Take the tour", zh: "导览" },
  lead: {
    en: "A network of {cell} cells for the task “{kind}”. It reads one step at a time and keeps a state: numbers that stand for all it has read so far.",
    zh: "由 {cell} 单元组成的网络，任务为“{kind}”。它一步一步地读，并保有一个状态：一组数，代表到此为止读过的一切。",
  },
  leadStateless: {
    en: "A network of {cell} cells for the task “{kind}”. It reads one step at a time and keeps no state: its cells hand nothing on from step to step.",
    zh: "由 {cell} 单元组成的网络，任务为“{kind}”。它一步一步地读，但没有状态：单元不把任何东西从一步交给下一步。",
  },
  language: { en: "language model", zh: "语言模型" },
  classify: { en: "classify", zh: "分类" },
  regress: { en: "regress", zh: "回归" },
  tag: { en: "tag", zh: "标注" },
  translate: { en: "translate", zh: "翻译" },
  forecast: { en: "forecast", zh: "预测" },
  strip: { en: "One cell, step after step", zh: "同一个单元，一步接一步" },
  stripHelp: {
    en: "Time runs to the right. Below each step is its input, above it the output; each box is the state after that step, one stripe a unit. Blue is negative, orange positive. Drag to move, Ctrl and wheel to zoom; arrow keys choose a step and a layer.",
    zh: "时间向右。每一步下方是输入，上方是输出；每个方块是该步之后的状态，每个单元一条。蓝色为负，橙色为正。拖动可移动，Ctrl 加滚轮可缩放；方向键选择步与层。",
  },
  fold: { en: "Fold", zh: "折叠" },
  unfold: { en: "Unroll", zh: "展开" },
  counted: { en: "{count} parameters, the same ones at every step: {parts}.", zh: "{count} 个参数，每一步都用同一组：{parts}。" },
  countedPart: { en: "{cells}, run {steps} times", zh: "{cells}，运行 {steps} 次" },
  countedOnce: { en: "{cells}, run once", zh: "{cells}，运行 1 次" },
  countedAnd: { en: "; ", zh: "；" },
  oneCell: { en: "one cell", zh: "一个单元" },
  manyCells: { en: "{n} cells one above the other", zh: "上下叠放的 {n} 个单元" },
  oneBoth: { en: "one layer of two cells, one that reads forwards and one backwards", zh: "一层，正向、反向各一个单元" },
  manyBoth: {
    en: "{n} layers one above the other, each of two cells, one that reads forwards and one backwards",
    zh: "上下叠放的 {n} 层，每层正向、反向各一个单元",
  },
  manyMixed: { en: "{n} layers one above the other, of {cells} cells in all", zh: "上下叠放的 {n} 层，共 {cells} 个单元" },
  manyNetworks: { en: "{n} networks side by side, each of {cells}", zh: "并列的 {n} 个网络，每个是{cells}" },
  folded: {
    en: "This is the whole network. The loop hands the state of one step to the next; unrolling draws it once for each step, and adds no parameter.",
    zh: "这就是整个网络。环把一步的状态交给下一步；展开只是为每一步画一次，不增加任何参数。",
  },
  foldedStateless: {
    en: "This is the whole network. It has no loop: no step hands anything to the next.",
    zh: "这就是整个网络。它没有环：哪一步都不把任何东西交给下一步。",
  },
  zoomIn: { en: "Zoom in", zh: "放大" },
  zoomOut: { en: "Zoom out", zh: "缩小" },
  fit: { en: "All steps", zh: "全部步" },
  ordered: { en: "Like units side by side", zh: "相似单元相邻" },
  leaf: { en: "Numbers shown", zh: "显示的数" },
  initial: { en: "initial state", zh: "初始状态" },
  final: { en: "final state", zh: "最终状态" },
  each: { en: "{count} parameters", zh: "{count} 个参数" },
  state: { en: "state", zh: "状态" },
  input: { en: "input", zh: "输入" },
  output: { en: "output", zh: "输出" },
  saveFinal: { en: "Download the final state", zh: "下载最终状态" },
  scale: {
    en: "One scale a row: full colour is ±{scale} in the first layer. A pixel here is the mean of {block} steps.",
    zh: "每行一个色标：第一层满色为 ±{scale}。此处一个像素是 {block} 步的平均值。",
  },
  scaleOne: { en: "One scale a row: full colour is ±{scale} in the first layer.", zh: "每行一个色标：第一层满色为 ±{scale}。" },
  marked: {
    en: "Below the inputs: what each counted for the output at the chosen step, or the one pointed at, where that was explained; a line for each column.",
    zh: "输入下方：各输入对所选（或所指）那一步输出的作用（若已解释），每列一行。",
  },
  parts: { en: "unrolled network of “{title}”", zh: "“{title}”的展开网络" },
  keys: {
    en: "Left and right choose a step, up and down a layer, plus and minus zoom, Enter goes to the cell and Escape back, F folds.",
    zh: "左右键选步，上下键选层，加减键缩放，回车进入单元、Esc 返回，F 折叠。",
  },
  readStep: {
    en: "Step {step} of {steps}, input {input}, layer {layer}{way}: length of the state {norm}.{said}",
    zh: "第 {step} 步，共 {steps} 步，输入 {input}，第 {layer} 层{way}：状态长度 {norm}。{said}",
  },
  saidOutput: { en: " Output {output}.", zh: "输出 {output}。" },
  ahead: { en: "forwards", zh: "正向" },
  back: { en: "backwards", zh: "反向" },
  wayOf: { en: ", {way}", zh: "（{way}）" },
  table: { en: "These steps as a table", zh: "以表格显示这些步" },
  step: { en: "step", zh: "步" },
  layer: { en: "layer", zh: "层" },
  unit: { en: "unit", zh: "单元" },
  norm: { en: "length of the state", zh: "状态长度" },
  answer: { en: "Answer", zh: "答案" },
  cell: { en: "Inside the cell", zh: "单元内部" },
  cellWhere: {
    en: "Layer {layer} ({cell}){way}, step {step}, input {input}.",
    zh: "第 {layer} 层（{cell}）{way}，第 {step} 步，输入 {input}。",
  },
  cellHelp: {
    en: "Each row is one gate or value of the cell at this step, one stripe a unit. Choose a unit: its numbers stand in the formula.",
    zh: "每一行是该步单元里的一个门或值，每个单元一条。选一个单元，它的数会代入公式。",
  },
  now: { en: "now", zh: "现在" },
  noInner: { en: "This cell shows no inner values.", zh: "该单元没有可显示的内部数值。" },
  exact: { en: "Numbers shown are rounded; gates are kept in half precision where the page would grow too large.", zh: "所示数字经过舍入；页面过大时，门的数值以半精度保存。" },
  computed: {
    en: "The parts of sums were computed in this page from its weights and the exact state before the step.",
    zh: "和式的各项由本页用其权重与该步之前的精确状态算出。",
  },
  forecastMore: { en: "{n} steps in all; in brackets 95 of 100 values", zh: "共 {n} 步；括号内为 100 个值中的 95 个" },
  encoder: { en: "encoder {n}", zh: "编码器 {n}" },
  decoder: { en: "decoder {n}", zh: "解码器 {n}" },
  member: { en: "{n} of network {m}", zh: "{n}（网络 {m}）" },
  noSpans: { en: "nothing found", zh: "未找到" },
  why: { en: "Why this output?", zh: "为什么是这个输出？" },
  whyHelp: {
    en: "Which inputs mattered, asked in three ways. Orange speaks for the output, blue against it. Where the ways differ by much of the greatest value, the step is marked ≠.",
    zh: "用三种方法问：哪些输入起了作用？橙色支持该输出，蓝色反对。方法之间相差（与最大值相比）很大的步标有 ≠。",
  },
  whyFor: { en: "Output explained", zh: "要解释的输出" },
  whyNone: { en: "No reasons were worked out for this sequence.", zh: "这个序列没有计算原因。" },
  gradient_input: { en: "gradient × input", zh: "梯度 × 输入" },
  integrated: { en: "integrated gradients", zh: "积分梯度" },
  deletion: { en: "taken out", zh: "删除该输入" },
  disagree: { en: "The ways disagree at: {steps}.", zh: "方法不一致之处：{steps}。" },
  agree: { en: "The three ways agree about every step.", zh: "三种方法对每一步的看法一致。" },
  columns: { en: "Which column?", zh: "哪一列？" },
  columnsHelp: {
    en: "A line for each column, a place for each step: orange spoke for the output, blue against it. At the end of a line: by how much the output falls when that column says nothing at any step.",
    zh: "每列一行，每一步一格：橙色支持该输出，蓝色反对。行末：若该列在所有步都不提供信息，输出会降低多少。",
  },
  columnsBy: { en: "By", zh: "方法" },
  columnsWhole: { en: "whole", zh: "整列" },
  columnsMore: { en: "{n} other columns counted less and are not shown.", zh: "另有 {n} 列作用较小，未显示。" },
  members: { en: "Do the networks agree?", zh: "各网络一致吗？" },
  membersHelp: {
    en: "A line for each network that takes part in the answer, by integrated gradients of what it says itself; below, their mean, and in violet where they lie apart. At the end of a line: what that network says.",
    zh: "每个参与回答的网络一行，是它自己回答的积分梯度；下方是平均值，紫色为分歧之处。行末：该网络自己的回答。",
  },
  membersAnswer: { en: "says", zh: "回答" },
  network: { en: "network {n}", zh: "网络 {n}" },
  networksMean: { en: "mean", zh: "平均" },
  networksApart: { en: "apart", zh: "分歧" },
  inNumbers: { en: "In numbers", zh: "以数字显示" },
  attention: { en: "Where it looked", zh: "它看向哪里" },
  attentionHelp: {
    en: "A row for each step, a column for each token of the source: the share of the step's attention.",
    zh: "每一步一行，源文每个词一列：该步注意力所占的份额。",
  },
  whatif: { en: "What if?", zh: "如果……" },
  whatifHelp: {
    en: "Change the inputs; the network runs again in this page, with its own weights. Moving a word shows what order does.",
    zh: "修改输入，网络会用自己的权重在本页重新运行。移动一个词，就能看到顺序的作用。",
  },
  whatifNone: {
    en: "This model is not run in the page: {reason} Run recurra look with another input instead.",
    zh: "该模型不能在页面中运行：{reason}请用别的输入再次运行 recurra look。",
  },
  whatifRows: {
    en: "Change the numbers, or the order of the rows; the network runs again in this page, with its own weights.",
    zh: "修改数字或行的顺序，网络会用自己的权重在本页重新运行。",
  },
  whatifLong: { en: "a sequence has more than {most} steps.", zh: "序列超过 {most} 步。" },
  tagsHelp: {
    en: "Under each token stands its likeliest tag by itself, with its share over all ways to tag the others; the answer chooses all tags together.",
    zh: "每个词下面是它自己最可能的标签，以及对其余各词所有标法求和后的份额；答案则是整体选出的标签。",
  },
  freeText: { en: "Type another text", zh: "输入另一段文本" },
  freeHint: {
    en: "It runs a moment after you stop typing, at Enter at once; Shift and Enter begin a new line.",
    zh: "停止输入后片刻自动运行；回车立即运行，Shift 加回车换行。",
  },
  freeWaiting: { en: "Typing … runs in a moment.", zh: "正在输入……片刻后运行。" },
  freeEmpty: { en: "An empty text is not run: what is shown is of the text before.", zh: "空文本不会运行：所示仍是之前的文本。" },
  atPlace: { en: "at {n}: {text}", zh: "第 {n} 个：{text}" },
  replace: { en: "Put in its place", zh: "替换为" },
  inputsNow: { en: "Inputs", zh: "输入" },
  earlier: { en: "Move earlier", zh: "前移" },
  later: { en: "Move later", zh: "后移" },
  remove: { en: "Take out", zh: "删除" },
  add: { en: "Add after it", zh: "在其后添加" },
  reset: { en: "As it was", zh: "恢复原样" },
  unknownWords: { en: "Not in the vocabulary, read as unknown: {texts}.", zh: "不在词表中、按未知词读取：{texts}。" },
  unknownMore: { en: "{texts} and {n} more", zh: "{texts} 等，另有 {n} 个" },
  oldNew: { en: "before and after", zh: "修改前后" },
  oldState: { en: "as it was", zh: "原来" },
  newState: { en: "changed", zh: "修改后" },
  difference: {
    en: "The last states lie {distance} apart (length before: {before}).",
    zh: "两个最终状态相距 {distance}（原长度：{before}）。",
  },
  time: { en: "Through time", zh: "随时间" },
  flow: { en: "How far a signal comes back", zh: "信号能传回多远" },
  flowHelp: {
    en: "Length of the gradient of the last output with respect to the state at each step; each line is a layer, on a logarithmic scale.",
    zh: "最后输出对每一步状态的梯度长度；每条线是一层，对数刻度。",
  },
  memory: { en: "Effective memory (a hundredth of the signal is left), in steps: {steps}.", zh: "有效记忆（信号剩百分之一处），以步计：{steps}。" },
  saturation: { en: "Saturation", zh: "饱和" },
  saturationHelp: {
    en: "How many of a gate's values are as good as shut (below 0.1) or open (above 0.9); of others, beyond −0.9 or 0.9.",
    zh: "门的值中近乎关闭（低于 0.1）或近乎打开（高于 0.9）的比例；其他值则为超出 −0.9 或 0.9 的比例。",
  },
  gate: { en: "value", zh: "值" },
  low: { en: "low", zh: "低" },
  high: { en: "high", zh: "高" },
  integralNote: {
    en: "Integrated gradients: {points} points of the path; their sum misses the whole difference by {error}.",
    zh: "积分梯度：路径上取 {points} 点；其总和与总差相差 {error}。",
  },
  stretchNote: { en: "The sequence is long: {n} steps at a time were taken out.", zh: "序列较长：每次删除 {n} 步。" },
  unitOwn: { en: "Values are in the unit of the answer.", zh: "数值的单位与答案相同。" },
  unitNote: { en: "Values are in {unit}.", zh: "数值单位：{unit}。" },
  norms: { en: "Length of the state", zh: "状态的长度" },
  normsHelp: { en: "Each line is a layer.", zh: "每条线是一层。" },
  trajectory: { en: "The path of the state", zh: "状态的轨迹" },
  trajectoryHelp: {
    en: "The state of a layer at each step in two dimensions (principal components). Numbers are steps; ○ the first, ● the last. A second scene is dashed.",
    zh: "某层每一步的状态投影到二维（主成分）。数字是步；○ 为第一步，● 为最后一步。第二个场景用虚线。",
  },
  apart: { en: "How far apart the two states are", zh: "两个状态相距多远" },
  apartAlike: {
    en: "Both sequences end together here, at the right. They read the same from step {one} of the first and step {other} of the second on: the distance that is left there is what the state remembers of what came before.",
    zh: "两个序列在右端对齐。从第一个的第 {one} 步、第二个的第 {other} 步起，输入完全相同：那里剩下的距离，就是状态对此前内容的记忆。",
  },
  apartDiffer: {
    en: "Both sequences end together here, at the right. Their last inputs differ: the distance there comes of what is just read as well as of what the state remembers.",
    zh: "两个序列在右端对齐。它们最后的输入不同：那里的距离既来自刚读到的内容，也来自状态记住的内容。",
  },
  apartSame: {
    en: "Both sequences are the same, and so are their states at every step.",
    zh: "两个序列完全相同，所以每一步的状态也相同。",
  },
  apartAligned: { en: "Both sequences end together here, at the right.", zh: "两个序列在右端对齐。" },
  stopAlike: {
    en: "Here are two sequences, side by side. They end alike: the same is read from step {one} of the first and step {other} of the second on. The distance that is left there is what their states remember of what came before; a network without a state would remember nothing.",
    zh: "这里并列着两个序列。它们结尾相同：从第一个的第 {one} 步、第二个的第 {other} 步起，读到的内容一样。那里剩下的距离，就是状态对此前内容的记忆；没有状态的网络什么也记不住。",
  },
  stopDiffer: {
    en: "Here are two sequences, side by side. They end differently, so their last states differ for two reasons: what was just read, and what is remembered. Look at two inputs with the same ending to see what is remembered alone.",
    zh: "这里并列着两个序列。它们结尾不同，所以最后的状态有两个原因而不同：刚读到的内容，以及记住的内容。想只看记住的部分，请比较两个结尾相同的输入。",
  },
  stopSame: {
    en: "Here the same sequence stands twice, and its states are the same at every step: what a network comes to depends on nothing but what it read.",
    zh: "这里同一个序列出现两次，每一步的状态都相同：网络得到什么，只取决于它读了什么。",
  },
  stopAligned: {
    en: "Here are two inputs, side by side, and how far apart the states are that the network comes to.",
    zh: "这里并列着两个输入，以及网络由它们得到的状态相距多远。",
  },
  units: { en: "One unit", zh: "单个单元" },
  unitsHelp: {
    en: "The text, coloured by the value of one unit after each step.",
    zh: "按某个单元在每一步之后的值给文本着色。",
  },
  corpus: { en: "In the corpus", zh: "语料中" },
  corpusTop: { en: "Where layer {layer}, unit {unit} is strongest", zh: "第 {layer} 层单元 {unit} 最强之处" },
  alike: { en: "Stretches with a state like this one", zh: "状态与此相似的片段" },
  more: { en: "only the steps around the chosen one are shown", zh: "只显示所选步附近的各步" },
  next: { en: "Next", zh: "下一步" },
  previous: { en: "Back", zh: "上一步" },
  close: { en: "Close", zh: "关闭" },
  done: { en: "Done", zh: "完成" },
  tourPlace: { en: "{n} of {all}", zh: "{n} / {all}" },
  footer: {
    en: "Made by Recurra from the model {hash}. This page holds all its numbers and asks nothing of any network.",
    zh: "由 Recurra 从模型 {hash} 生成。本页包含全部数据，不访问任何网络。",
  },
  none: { en: "none", zh: "无" },
} as const satisfies Record<string, Both>;

export type Word = keyof typeof WORDS;

let language: "en" | "zh" = "en";

export function speak(now: "en" | "zh"): void {
  language = now;
}

export function speaks(): "en" | "zh" {
  return language;
}

/** The words for a key in the language of the page. */
export function say(key: Word, fill: Record<string, string | number> = {}): string {
  return WORDS[key][language].replace(/\{(\w+)\}/g, (whole, name: string) => String(fill[name] ?? whole));
}

/** The words for a name, where it is one of theirs; else the name itself. */
export function sayName(name: string): string {
  return name in WORDS ? say(name as Word) : name;
}

/** What Python wrote in both languages. */
export function both(text: Both): string {
  return text[language];
}

/** A layer as it is named: those that have only a number are counted from one, and so are those of parts that people know. */
export function layerName(layer: { name: string }): string {
  const found = /^(?:(encoder|first|rest|members\.(\d+))\.)?(\d+)$/.exec(layer.name);
  if (!found) return layer.name;
  const n = Number(found[3]) + 1;
  if (found[2] !== undefined) return say("member", { n, m: Number(found[2]) + 1 });
  if (found[1] === "encoder") return say("encoder", { n });
  // a translator looks back at its source between its first layer and the rest
  return found[1] ? say("decoder", { n: found[1] === "rest" ? n + 1 : n }) : String(n);
}

/** A number as it is read: few digits, none wasted. */
export function number(value: number): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  const text =
    size !== 0 && (size < 0.001 || size >= 1e5) ? value.toExponential(2) : String(Number(value.toPrecision(4)));
  return text.replaceAll("-", "−");
}

/** A number that is read; one that is missing is a dash, as in the table. */
export function given(value: number): string {
  return Number.isNaN(value) ? "–" : number(value);
}

export function percent(share: number): string {
  const value = share * 100;
  if (value > 0 && value < 0.01) return "< 0.01 %";
  if (value >= 99.95 && value < 100) return "> 99.9 %";
  return `${value > 99 && value < 100 ? value.toFixed(1) : value < 1 && value > 0 ? value.toPrecision(2) : Math.round(value)} %`;
}

export function count(value: number): string {
  return value.toLocaleString("en-US");
}
