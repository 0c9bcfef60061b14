// Puts the page together.

import { keepKey } from "./key.js";
import { askAgain } from "./models.js";
import { tabs } from "./tabs.js";
import { facesTab } from "../tabs/faces.js";
import { finetuneTab } from "../tabs/finetune.js";
import { imageTab } from "../tabs/image.js";
import { insideTab } from "../tabs/inside.js";
import { statusTab } from "../tabs/status.js";
import { textTab } from "../tabs/text.js";
import { tokensTab } from "../tabs/tokens.js";

keepKey(document.getElementById("key"), askAgain);
tabs(document.getElementById("tabs"), document.getElementById("panels"), [
  { id: "text", title: "Text", make: textTab },
  { id: "tokens", title: "Tokens and meaning", make: tokensTab },
  { id: "inside", title: "Inside the transformer", make: insideTab },
  { id: "image", title: "Image", make: imageTab },
  { id: "faces", title: "Faces", make: facesTab },
  { id: "finetune", title: "Fine-tune", make: finetuneTab },
  { id: "status", title: "Status", make: statusTab },
]);
