SELECT "eventTime", "eventID", "userIdentity.arn", "awsRegion", "userIdentity.type", "userIdentity.userName", "userIdentity.accessKeyId", "userIdentity.sessionContext.sessionIssuer.arn", "userIdentity.sessionContext.attributes.mfaAuthenticated", "sourceIPAddress", "vpcEndpointId", "userAgent", "eventSource", "eventName", "errorCode", "recipientAccountId", "requestParameters.userName"
FROM cloudtrail
WHERE lower("eventSource") = 'iam.amazonaws.com' AND (lower("eventName") IN ('createaccesskey', 'createloginprofile', 'updateloginprofile')) AND ("requestParameters.userName" ILIKE 'AeaApiKey-%' ESCAPE '\' OR "requestParameters.userName" ILIKE 'BedrockAPIKey-%' ESCAPE '\')
ORDER BY "eventTime", "eventID";
