// Shows the API's description with Swagger.
window.SwaggerUIBundle({ url: "/openapi.json", dom_id: "#swagger-ui" });
