// The search from file://, where browsers refuse workers: its worker runs in a hidden frame.
// Because of this file's name Material leaves out its own copy, which comes from another server.
if (location.protocol === "file:")
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      this.inside = frame.contentWindow;
      window.addEventListener("message", ({ source, data }) => {
        if (source === this.inside) this.dispatchEvent(new MessageEvent("message", { data }));
      });
      this.inside.document.write(
        `<body><script>postMessage = (data) => parent.postMessage(data, "*")</script>` +
          `<script src="${url}"></script></body>`,
      );
      this.inside.document.close();
      this.ready = new Promise((done) => (this.inside.onload = done));
    }

    async postMessage(data) {
      await this.ready;
      this.inside.dispatchEvent(new MessageEvent("message", { data }));
    }
  };
