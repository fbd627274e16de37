window.ui = SwaggerUIBundle({
  url: new URL("api-docs/openapi.json", location).href,
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  // Else a public service would ask a validator elsewhere for a badge.
  validatorUrl: null,
});
