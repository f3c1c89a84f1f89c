"""The style sheet of the report: light, dark, phone, paper. Blue is the model, orange is error or surprise.

The two hues are told apart with every common kind of colour blindness, and within each hue lightness does the
work.
"""

from __future__ import annotations

_BLUES = ("#e4eef8", "#c9def1", "#a8cae8", "#82b2dc", "#5b98cd", "#3274b0", "#1d5c96", "#0c4a80")
_ORANGES = ("#fcebdd", "#fad7bb", "#f6bd90", "#f0a066", "#e48240", "#c05a1a", "#9c4310", "#7a3005")
_DARK_BLUES = ("#16273a", "#1a3550", "#1f456a", "#275887", "#326da5", "#4486c4", "#66a3de", "#93c4f3")
_DARK_ORANGES = ("#33231a", "#472c1a", "#5f3819", "#7b461a", "#9a561d", "#bd6a26", "#dd8640", "#f7ab6f")


def _ramp(name: str, colours: tuple[str, ...]) -> str:
    return "".join(f"--{name}{level}:{colour};" for level, colour in enumerate(colours, 1))


_LIGHT = (
    "--paper:#fdfcfa;--card:#fff;--ink:#1d2126;--soft:#5b636d;--faint:#6f7780;--rule:#e3e0da;--grid:#ecebe7;"
    "--model:#1d629f;--train:#c4692a;--second:#6a51a3;--good:#0c4a80;--good-back:#eaf2fa;--bad:#873706;"
    "--bad-back:#fdf1e7;--even:#4b535c;--even-back:#f2f1ee;--code:#f5f3ef;--on-low:#1d2126;--on-high:#fff;"
    + _ramp("b", _BLUES)
    + _ramp("o", _ORANGES)
)
_DARK = (
    "--paper:#14171b;--card:#1a1e23;--ink:#e6e8ea;--soft:#a6aeb7;--faint:#8b949e;--rule:#2d333a;--grid:#262b31;"
    "--model:#66a3de;--train:#e59a5c;--second:#b7a2e6;--good:#93c4f3;--good-back:#17273a;--bad:#f7ab6f;"
    "--bad-back:#35231a;--even:#c0c7ce;--even-back:#22272d;--code:#20252b;--on-low:#e6e8ea;--on-high:#0d1116;"
    + _ramp("b", _DARK_BLUES)
    + _ramp("o", _DARK_ORANGES)
)

_LEVELS = "".join(
    f".right.l{n}{{fill:var(--b{n});background:var(--b{n})}}.wrong.l{n}{{fill:var(--o{n});background:var(--o{n})}}"
    f".t{n}{{background:var(--o{n})}}"
    for n in range(1, 9)
)

_RULES = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);
 font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue","Noto Sans","PingFang SC",
 "Hiragino Sans GB","Microsoft YaHei","Noto Sans CJK SC",sans-serif;font-variant-numeric:tabular-nums}
main,footer{max-width:52rem;margin:0 auto;padding:0 1.5rem}
header{padding:3.2rem 0 1.6rem}
h1{font-size:2.1rem;line-height:1.15;letter-spacing:-.02em;margin:.25rem 0 .5rem;font-weight:680;overflow-wrap:anywhere}
h2{font-size:1.22rem;letter-spacing:-.01em;margin:0 0 .35rem;font-weight:640}
h3{font-size:.95rem;margin:1.6rem 0 .3rem;font-weight:620}
p{margin:.35rem 0 .8rem}
ul{margin:.3rem 0 .8rem;padding-left:1.15rem}
li{margin:.2rem 0;overflow-wrap:anywhere}
li::marker{color:var(--faint)}
.eyebrow{font-size:.8rem;letter-spacing:.09em;text-transform:uppercase;color:var(--soft);margin:0}
.meta,.quiet,.caption{color:var(--soft)}
.meta{margin:0}
.caption{font-size:.92rem;max-width:44rem}
section{border-top:1px solid var(--rule);padding:1.7rem 0 1.5rem}
.verdict{border:0;border-radius:12px;padding:1.25rem 1.4rem 1.15rem;margin:0 0 1.6rem;display:grid;
 grid-template-columns:auto 1fr;gap:0 .9rem;background:var(--even-back)}
.verdict>.sign{grid-row:span 2;width:2rem;height:2rem;border-radius:50%;display:grid;place-items:center;
 font-weight:700;color:var(--card);background:var(--even);margin-top:.05rem}
.verdict h2{color:var(--even);font-size:1.3rem;margin:.05rem 0 .25rem}
.verdict p{margin:0 0 .35rem;max-width:42rem}
.verdict div p:last-child{margin:0}
.verdict .caution{color:var(--soft);font-size:.92rem}
.verdict.better{background:var(--good-back)}.verdict.better>.sign{background:var(--good)}
.verdict.better h2{color:var(--good)}
.verdict.worse{background:var(--bad-back)}.verdict.worse>.sign{background:var(--bad)}.verdict.worse h2{color:var(--bad)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:0;margin:0 0 1.9rem;
 border:1px solid var(--rule);border-radius:12px;background:var(--card);overflow:hidden;column-gap:1px;row-gap:1px}
.tiles div{box-shadow:0 0 0 1px var(--rule);padding:.85rem 1.1rem .8rem}
.tiles dt{font-size:.84rem;color:var(--soft)}
.tiles dd{margin:0;font-size:1.65rem;line-height:1.25;font-weight:620;letter-spacing:-.015em}
.tiles .split{display:block;font-size:.8rem;color:var(--faint);font-weight:400;letter-spacing:0}
.warning{border-left:3px solid var(--train);padding-left:.9rem;max-width:44rem}
.scroll{overflow-x:auto;max-width:100%;-webkit-overflow-scrolling:touch}
table{border-collapse:collapse;width:100%;font-size:.93rem}
th{font-weight:560;text-align:left;overflow-wrap:anywhere}
th,td{padding:.48rem .7rem .48rem 0;border-bottom:1px solid var(--grid);vertical-align:baseline}
thead th{color:var(--soft);font-weight:500;font-size:.84rem;border-bottom-color:var(--rule);white-space:nowrap}
td,thead th:not(:first-child){text-align:right;white-space:nowrap}
.texts td,.texts thead th:not(:first-child){text-align:left;white-space:normal;min-width:10rem}
tr>:last-child{padding-right:0}
tr.ours th,tr.ours td{font-weight:680;color:var(--model)}
th small{display:block;font-weight:400;color:var(--soft)}
.comparison th[scope=row]{min-width:8.5rem}
.comparison thead th{white-space:normal;overflow-wrap:normal;vertical-align:bottom}
.comparison th,.comparison td{padding-right:.5rem}
td.bar,thead th.bar{width:30%;min-width:6rem;text-align:left;padding-left:.3rem;padding-right:1.2rem}
.comparison td.bar,.comparison thead th.bar{min-width:4.5rem}
.bar i{display:block;height:.72rem;border-radius:2px;background:var(--faint);opacity:.55;min-width:2px;width:var(--w)}
.ours .bar i{background:var(--model);opacity:1}
dl.facts{display:grid;grid-template-columns:max-content 1fr;gap:.3rem 1.4rem;margin:.5rem 0 .9rem;font-size:.95rem}
dl.facts dt{color:var(--soft)}
dl.facts dd{margin:0;overflow-wrap:anywhere}
pre,code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono","Noto Sans Mono CJK SC",monospace;
 font-size:.86em}
pre{background:var(--code);border-radius:8px;padding:.75rem .95rem;margin:.5rem 0;white-space:pre-wrap;
 overflow-wrap:anywhere}
details{margin:.8rem 0 .2rem}
summary{cursor:pointer;color:var(--model);font-size:.93rem}
svg{display:block;font:11px system-ui,-apple-system,"Segoe UI",Roboto,"PingFang SC","Microsoft YaHei",
 "Noto Sans CJK SC",sans-serif;font-variant-numeric:tabular-nums}
svg text{fill:var(--soft)}
svg .title{font-weight:620;font-size:12px;fill:var(--ink)}
svg .faint{fill:var(--faint)}
.curves{width:100%;height:auto;margin:.9rem 0 .6rem;overflow:visible}
.curves.narrow{display:none}
.grid{stroke:var(--grid)}.axis{stroke:var(--faint)}
.best{stroke:var(--faint);stroke-dasharray:2 3}
.stroke{fill:none;stroke-width:1.7;stroke-linejoin:round;stroke-linecap:round}
.stroke.train{stroke:var(--train);stroke-width:1.3}.dot.train{fill:var(--train)}
.stroke.valid{stroke:var(--model)}.dot.valid{fill:var(--model)}
.stroke.second{stroke:var(--second);stroke-dasharray:5 3}.dot.second{fill:var(--second)}
.stroke.rate{stroke:var(--soft)}.dot.rate{fill:var(--soft)}
.dot{stroke:var(--paper);stroke-width:1}
.ring{fill:none;stroke:var(--ink);stroke-width:1.6}
svg .mark{font-weight:620;font-size:11.5px;fill:var(--ink);paint-order:stroke;stroke:var(--paper);stroke-width:4px;
 stroke-linejoin:round}
.heat{margin:.6rem 0}
.heat-back{fill:var(--grid);opacity:.55}
svg .on{fill:var(--on-low);pointer-events:none}
svg .on.l6,svg .on.l7,svg .on.l8{fill:var(--on-high)}
svg .strong{font-weight:650}
.legend{font-size:.8rem;color:var(--soft);margin:.2rem 0 .9rem}
.legend>div{display:flex;gap:1px;align-items:center}
.word{width:4.6rem;flex:none}
.swatch{width:1.9rem;height:.85rem}
.step{width:1.9rem;text-align:center;font-size:.74rem}
.tokens{background:var(--card);border:1px solid var(--rule);border-radius:12px;padding:1.1rem 1.25rem;
 font-size:1.02rem;line-height:1.95;white-space:pre-wrap;overflow-wrap:anywhere;max-height:34rem;overflow-y:auto}
.t{position:relative;padding:.12em 0;box-decoration-break:clone;-webkit-box-decoration-break:clone}
.t6,.t7{color:var(--on-high)}
.tokens .t:hover{outline:2px solid var(--ink)}
.tokens .t:hover::after{content:attr(data-nats);position:absolute;left:0;bottom:100%;z-index:2;padding:.1rem .5rem;
 border-radius:5px;background:var(--ink);color:var(--paper);font-size:.78rem;line-height:1.6;white-space:nowrap;
 pointer-events:none}
.token-legend{display:flex;flex-wrap:wrap;gap:.5rem 1rem;font-size:.8rem;margin:.3rem 0 .8rem}
.token-legend div{display:grid;justify-items:center;line-height:1.5}
.token-legend .t{border-radius:3px;padding:.05em .55em;font-size:.85rem}
.tagged{white-space:normal}
.tagged p{margin:.1rem 0}
.tagged b{display:inline-block;width:3.4rem;color:var(--faint);font-weight:500;font-size:.78rem}
.sentence+.sentence{margin-top:.55rem;padding-top:.5rem;border-top:1px solid var(--grid)}
.examples{display:grid;grid-template-columns:repeat(3,1fr);gap:.7rem;align-items:start}
.examples figure{margin:0;min-width:0}
.examples svg{width:100%;height:auto;background:var(--card);border:1px solid var(--rule);border-radius:8px}
.examples.pictures{grid-template-columns:repeat(6,1fr)}
.examples figcaption{font-size:.76rem;color:var(--faint);margin-top:.15rem}
.examples .mistaken svg{border-color:var(--train);border-width:2px}
.examples .mistaken figcaption{color:var(--bad)}
.ink{fill:var(--ink)}
.amounts{display:flex;flex-wrap:wrap;gap:1rem;margin:.6rem 0}
.amounts svg{width:22.5rem;max-width:100%;height:auto}
.span{border-radius:4px;padding:.06em .3em;margin:0 .06em;box-decoration-break:clone;-webkit-box-decoration-break:clone}
.span sub{font-size:.68em;color:var(--soft);margin-left:.35em;vertical-align:baseline}
.span-legend .span{margin-right:.8rem;font-size:.85rem}
footer{border-top:1px solid var(--rule);padding-top:1.2rem;padding-bottom:3rem;color:var(--soft);font-size:.86rem;
 overflow-wrap:anywhere}
@media (max-width:40rem){
 body{font-size:15.5px}
 main,footer{padding-left:1.05rem;padding-right:1.05rem}
 header{padding-top:1.8rem}
 h1{font-size:1.6rem}
 .verdict{padding:1rem 1.05rem;grid-template-columns:1fr}
 .verdict>.sign{grid-row:auto;margin-bottom:.5rem}
 .tiles{grid-template-columns:1fr 1fr}
 .tiles div:first-child:nth-last-child(odd){grid-column:span 2}
 .tiles dd{font-size:1.35rem}
 .token-legend{display:grid;grid-template-columns:repeat(4,1fr)}
 .examples{grid-template-columns:1fr 1fr}
 .examples.pictures{grid-template-columns:repeat(3,1fr)}
 .curves.wide{display:none}.curves.narrow{display:block}
 dl.facts{grid-template-columns:1fr;gap:0}
 dl.facts dd{margin-bottom:.5rem}
 .swatch,.step{width:1.65rem}
}
@media print{
 :root{--paper:#fff;--card:#fff}
 body{font-size:10.5pt}
 *{-webkit-print-color-adjust:exact;print-color-adjust:exact}
 section,.verdict,.tiles,svg,tr{break-inside:avoid}
 .tokens{max-height:none;overflow:visible}
 header{padding-top:0}
}
"""

STYLE = (
    f":root{{color-scheme:light dark;{_LIGHT}}}"
    f"@media screen and (prefers-color-scheme:dark){{:root{{{_DARK}}}}}" + _RULES + _LEVELS
)
