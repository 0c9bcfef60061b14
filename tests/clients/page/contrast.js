// Texts whose contrast with what is behind them, as WCAG counts it, is below `least`: [[ratio, element], …].
(least) => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (colour) =>
    colour
      .slice(0, 3)
      .map((each) => each / 255)
      .map((each) => (each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4))
      .reduce((sum, each, i) => sum + each * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const ratio = (element) => {
    const both = [rgb(getComputedStyle(element).color), behind(element)].map(luminance);
    return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
  };
  const texts = "p, label, button, h1, h2, h3, h4, summary, td, th, code, output, li, figcaption";
  return [...document.querySelectorAll(texts)]
    .filter((each) => each.checkVisibility() && each.textContent.trim() && !each.disabled)
    .map((each) => [ratio(each), each.outerHTML.slice(0, 120)])
    .filter(([found]) => found < least);
};
