"""The looks of cards and galleries.

Colours are mixed from the front end's own variables (JupyterLab's, then VS Code's, then the system's colours), so that
both themes are legible and ground and text never come from two families.
"""

from __future__ import annotations

_COLOURS = """--fg:var(--jp-ui-font-color1,var(--vscode-editor-foreground,CanvasText));
--bg:var(--jp-layout-color0,var(--vscode-editor-background,Canvas));
--dim:color-mix(in srgb,var(--fg) 74%,transparent);
--line:color-mix(in srgb,var(--fg) 20%,transparent);
--track:color-mix(in srgb,var(--fg) 13%,transparent);
--tile:color-mix(in srgb,var(--fg) 5%,transparent);
--run:color-mix(in srgb,var(--jp-brand-color1,var(--vscode-charts-blue,#1976d2)) 80%,var(--fg));
--good:color-mix(in srgb,var(--jp-success-color1,var(--vscode-charts-green,#388e3c)) 76%,var(--fg));
--bad:color-mix(in srgb,var(--jp-error-color1,var(--vscode-charts-red,#d32f2f)) 80%,var(--fg));
--warn:color-mix(in srgb,var(--jp-warn-color1,var(--vscode-charts-orange,#f57c00)) 64%,var(--fg));
--sans:var(--jp-ui-font-family,system-ui,sans-serif)"""
_CHECKS = "repeating-conic-gradient(var(--track) 0 25%,transparent 0 50%) 0 0/14px 14px"
"""Behind what shines through."""

CARD = f"""<style>
.nbh{{{_COLOURS};
container-type:inline-size;position:relative;box-sizing:border-box;width:100%;max-width:760px;
padding:12px 16px;margin:2px 0;border:1px solid var(--line);border-radius:8px;background:var(--bg);color:var(--fg)}}
.nbh.jupyter-widgets{{display:block;margin:2px 0;width:calc(100% - 20px)}}
.nbh>.jupyter-widgets{{margin:0;width:auto;height:auto}}
.nbh>.widget-html,.nbh .widget-html-content{{display:block;width:auto;min-width:0;line-height:inherit;font-size:inherit;
overflow:visible}}
.nbh-part{{font:13px/20px var(--sans);font-variant-numeric:tabular-nums;color:var(--fg)}}
.nbh-part *{{box-sizing:border-box}}
.nbh .top{{display:flex;gap:2px 10px;align-items:baseline;flex-wrap:wrap}}
.nbh.jupyter-widgets .top{{padding-right:70px;min-height:24px}}
.nbh .state{{font-weight:600;white-space:nowrap}}
.nbh .name{{flex:1 1 0;min-width:6em;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}}
.nbh .tags{{display:flex;gap:6px;max-width:100%}}
.nbh .all .tags{{margin-left:auto}}
.nbh .tag{{font-size:11px;line-height:16px;color:var(--dim);border:1px solid var(--line);border-radius:9px;
padding:0 7px;white-space:nowrap;overflow:hidden;text-overflow:ellipsis}}
.nbh .dim,.nbh .foot{{color:var(--dim)}}
.nbh .run{{color:var(--run)}}.nbh .good{{color:var(--good)}}.nbh .bad{{color:var(--bad)}}.nbh .warn{{color:var(--warn)}}
.nbh .wait{{color:var(--dim)}}
.nbh .bar{{height:6px;border-radius:3px;background:var(--track);overflow:hidden;margin:8px 0;display:flex}}
.nbh .bar.bad,.nbh .bar.warn{{background:color-mix(in srgb,currentColor 30%,transparent)}}
.nbh .bar>i{{display:block;height:100%;background:var(--run);transition:width .4s linear}}
.nbh .bar>i.good{{background:var(--good)}}.nbh .bar>i.bad{{background:var(--bad)}}
.nbh .bar>i.warn{{background:var(--warn)}}
.nbh .bar.open>i{{width:28%;animation:nbh 1.8s ease-in-out infinite alternate}}
@keyframes nbh{{from{{margin-left:0}}to{{margin-left:72%}}}}
@media (prefers-reduced-motion:reduce){{.nbh .bar>i{{transition:none}}
.nbh .bar.open>i{{animation:none;width:100%;opacity:.35}}}}
.nbh .counts{{display:flex;flex-wrap:wrap;column-gap:14px;min-height:20px}}
.nbh .line{{min-height:20px;overflow-wrap:anywhere}}
.nbh .why{{margin-top:2px;overflow-wrap:anywhere}}
.nbh .now{{display:flex;white-space:pre}}
.nbh .now>:first-child{{min-width:0;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}}
.nbh .foot{{font-size:11.5px;line-height:17px;margin-top:8px;display:flex;flex-wrap:wrap;column-gap:12px}}
.nbh .foot>span{{min-width:0;max-width:100%;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}}
.nbh .mono{{font-family:var(--jp-code-font-family,ui-monospace,monospace);font-size:11px}}
.nbh table.rows{{border-collapse:collapse;width:100%;margin:8px 0 2px;table-layout:fixed;font-size:12.5px;color:inherit;
border:0}}
.nbh table.rows td{{padding:0 12px 0 0;line-height:22px;border:0;text-align:left;vertical-align:baseline;
overflow:hidden;text-overflow:ellipsis;white-space:nowrap;background:none;max-width:none}}
.nbh .mid{{display:flex;min-width:0}}.nbh .mid>*{{white-space:pre;flex:none}}
.nbh .mid>:first-child{{flex:0 1 auto;min-width:0;overflow:hidden;text-overflow:ellipsis}}
.nbh table.rows tr{{background:none!important;border:0}}
.nbh table.rows td.c2{{width:116px}}.nbh table.rows td.c3{{width:66px;text-align:right}}
.nbh table.rows td.c4{{width:36%;padding-right:0}}
.nbh .pics{{display:grid;grid-template-columns:repeat(auto-fill,minmax(104px,1fr));gap:12px 10px;margin:10px 0 2px;
align-items:start}}
.nbh .pics.roomy{{grid-template-columns:repeat(auto-fill,minmax(148px,1fr))}}
.nbh .pics.few{{display:flex;flex-wrap:wrap}}
.nbh figure.pic{{margin:0;max-width:100%;min-width:0;display:block}}
.nbh figure.pic:has(details[open]){{grid-column:1/-1}}
.nbh .pics:not(.few)>.wide{{grid-column:span 2}}
.nbh details>summary{{list-style:none;cursor:zoom-in;display:block}}
.nbh details>summary::-webkit-details-marker{{display:none}}
.nbh details[open]>summary{{cursor:zoom-out}}
.nbh .pic img{{display:block;width:100%;height:auto;aspect-ratio:1;object-fit:contain;border-radius:6px;margin:0;
max-width:none;background:var(--tile)}}
.nbh .pic img.clear{{background:{_CHECKS}}}
.nbh .few .pic img{{width:auto;aspect-ratio:auto;max-height:180px;max-width:min(100%,360px);min-width:24px}}
.nbh .pic details[open] img{{width:auto;aspect-ratio:auto;max-height:384px;max-width:100%}}
.nbh .pic video{{display:block;width:100%;height:auto;border-radius:6px;margin:0}}
.nbh .few .pic video{{width:auto;height:180px;max-width:100%}}
.nbh .cap{{font-size:11.5px;line-height:17px;color:var(--dim);width:0;min-width:100%;margin-top:4px}}
.nbh .cap>*{{display:block;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}}
.nbh .path{{font-size:11px;line-height:15px;color:var(--dim);width:0;min-width:100%;overflow-wrap:anywhere;
margin-top:3px}}
.nbh .file{{border:1px solid var(--line);border-radius:6px;padding:6px 10px;font-size:12px;line-height:18px;
max-width:100%;overflow-wrap:anywhere}}
.nbh a{{color:inherit;text-decoration:underline;text-decoration-color:var(--line);text-underline-offset:2px}}
.nbh a:hover{{text-decoration-color:currentColor}}
.nbh :focus-visible{{outline:2px solid var(--run);outline-offset:2px}}
.nbh .nbh-stop{{position:absolute;top:11px;right:15px;width:auto;height:24px;line-height:22px;padding:0 12px;margin:0;
font:12px/22px var(--sans);border:1px solid var(--line);border-radius:6px;background:none;color:var(--fg)}}
.nbh .nbh-stop:hover:enabled{{background:var(--track);box-shadow:none}}
.nbh .nbh-says{{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}}
@container (max-width:460px){{.nbh .now{{flex-direction:column}}.nbh .sep{{display:none}}
.nbh table.rows,.nbh .rows tbody{{display:block}}
.nbh table.rows tr{{display:grid;grid-template-columns:minmax(0,1fr) 112px}}
.nbh table.rows td.c2{{width:auto;padding-right:0}}
.nbh table.rows td.c3,.nbh table.rows td.c4{{display:none}}
.nbh table.rows tr.ended td.c4{{display:block;grid-column:1/-1;width:auto;white-space:normal;line-height:17px;
padding:0 0 4px 16px}}}}
</style>"""

GALLERY = f"""<style>
.nbhg{{{_COLOURS};
background:var(--bg);color:var(--fg);font:13px/1.45 var(--sans);font-variant-numeric:tabular-nums;padding:4px 0;
overflow-x:auto}}
.nbhg table{{border-collapse:collapse;color:inherit;margin:0;font-size:inherit;border:0}}
.nbhg table th,.nbhg table td{{padding:7px 14px 7px 0;border:0;text-align:left!important;vertical-align:top!important;
background:none;max-width:none;white-space:normal}}
.nbhg tr{{background:none!important}}
.nbhg thead th{{border-bottom:1px solid var(--line);font-weight:600}}
.nbhg tbody tr:first-child>*{{padding-top:12px}}
.nbhg tbody th{{font-weight:600;min-width:7em;max-width:14em;overflow-wrap:anywhere;position:sticky;left:0;
background:var(--bg);z-index:1}}
.nbhg .axes{{font-weight:400;font-size:11.5px;color:var(--dim);white-space:nowrap}}
.nbhg .cell{{display:flex;flex-wrap:wrap;gap:14px 12px}}
.nbhg figure{{margin:0}}
.nbhg details>summary{{list-style:none;cursor:zoom-in;display:block}}
.nbhg details>summary::-webkit-details-marker{{display:none}}
.nbhg details[open]>summary{{cursor:zoom-out}}
.nbhg img{{display:block;border-radius:6px;height:auto;width:auto;max-width:var(--size);max-height:var(--size);
margin:0}}
.nbhg img.clear{{background:{_CHECKS}}}
.nbhg details[open] img{{max-width:none;max-height:none}}
.nbhg figcaption{{font-size:11.5px;line-height:17px;margin-top:4px;width:0;min-width:min(100%,var(--size))}}
.nbhg figcaption>*{{display:block;max-width:var(--size);overflow:hidden;text-overflow:ellipsis;white-space:nowrap}}
.nbhg .none{{box-sizing:border-box;width:var(--size);min-height:calc(var(--size)*.62);background:var(--tile);
border-radius:6px;padding:10px 12px;font-size:12px;line-height:17px;overflow-wrap:anywhere}}
.nbhg .none>*{{display:block}}
.nbhg .none>b{{font-weight:600;margin-bottom:3px}}
.nbhg .bad{{color:var(--bad)}}.nbhg .dim{{color:var(--dim)}}
.nbhg :focus-visible{{outline:2px solid currentColor;outline-offset:2px}}
</style>"""

LINE = f"""<style>.nbhl{{{_COLOURS};
display:flex;flex-wrap:wrap;column-gap:12px;align-items:baseline;font:13px/20px var(--sans);color:var(--fg);
font-variant-numeric:tabular-nums}}
.nbhl>strong{{font-weight:600}}.nbhl>span{{color:var(--dim)}}.nbhl .good{{color:var(--good)}}
.nbhl .run{{color:var(--run)}}
.nbhl .bad{{color:var(--bad)}}.nbhl .warn{{color:var(--warn)}}.nbhl .wait{{color:var(--dim)}}
.nbhl samp{{font:11.5px/20px var(--jp-code-font-family,ui-monospace,monospace);overflow-wrap:anywhere}}</style>"""
